"""Provider routing, measured: years of providers' behaviour simulated by seed."""
