//! Compiles the protobuf definitions: `protox` parses them (no `protoc` needed), `tonic-prost-build` writes the code.
//!
//! Messages and clients go to `pb/`. The servers go to `wire/`, where answers and commands are types that hold encoded bytes:
//! an answer is encoded once, when it enters the cache, and not for every client that asks; a command is decoded on its own, so
//! that one that cannot be read does not spoil the batch or stream that it came in.

use std::{env, error::Error, fs, path::PathBuf};

use protox::prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["record", "resolver", "registry", "trace", "auditor"].map(|name| format!("touchmark/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let (messages, servers) = (out.join("pb"), out.join("wire"));
    fs::create_dir_all(&messages)?;
    fs::create_dir_all(&servers)?;
    // The reflection service hands this file to clients that come without the definitions.
    fs::write(out.join("touchmark.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").build_server(false).out_dir(messages).compile_fds(descriptors.clone())?;
    tonic_prost_build::configure()
        .build_client(false)
        .codec_path("crate::server::grpc::RequestCodec")
        .extern_path(".touchmark.v1", "crate::protocol::grpc::pb")
        .extern_path(".touchmark.v1.Answer", "crate::protocol::grpc::EncodedAnswer")
        .extern_path(".touchmark.v1.ResolveBatchResponse", "crate::protocol::grpc::EncodedAnswers")
        .extern_path(".touchmark.v1.Command", "crate::protocol::grpc::Encoded")
        .extern_path(".touchmark.v1.ApplyBatchRequest", "crate::protocol::grpc::EncodedCommands")
        .out_dir(servers)
        .compile_fds(descriptors)?;
    Ok(())
}
