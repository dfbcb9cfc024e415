"""Tasks on a device: manifest, names, signatures, downloads and the store of installed bundles."""
