"""The Open Inference Protocol over gRPC, beside REST; only imported where `SERVEGEN_GRPC_PORT` is set."""
