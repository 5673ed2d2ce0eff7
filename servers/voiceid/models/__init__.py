"""Speaker models: built from pinned wheels without torch, described by manifests, refused unless golden ones agree."""
