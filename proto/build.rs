//! Compiles the protobuf definitions: `protox` parses them (no `protoc` needed), `tonic-prost-build` writes the code.

use std::{env, error::Error, path::PathBuf};

use protox::prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["touchmark/v1/record.proto", "touchmark/v1/resolver.proto", "touchmark/v1/registry.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // The reflection service hands this file to clients that come without the definitions.
    std::fs::write(out.join("touchmark.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
