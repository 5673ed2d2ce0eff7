"""What every server needs: time and ids as arguments, refusals, callers, settings, interceptors, the server."""
