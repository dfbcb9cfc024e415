"""The gRPC face: shoal.admin.v1 over operations/."""
