//! Makes Rust of the interface files in proto/, without protoc: messages with their Protobuf and JSON
//! forms, and for gRPC's server reflection the descriptors with the names that each holds.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use prost::Message as _;
use prost_types::FileDescriptorProto;

/// The interface files, each after those that it imports.
const FILES: [&str; 7] = [
    "kv.proto",
    "auth.proto",
    "rpc.proto",
    "v3lock.proto",
    "v3election.proto",
    "health.proto",
    "reflection.proto",
];
/// Versions of keys and events are sent as the store has them: the types are written by hand.
const BY_HAND: [(&str, &str); 2] = [
    (".mvccpb.KeyValue", "crate::http::v3::pb::KeyValue"),
    (".mvccpb.Event", "crate::http::v3::pb::Event"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["proto"])?;

    let mut messages = prost_build::Config::new();
    for (name, by_hand) in BY_HAND {
        messages.extern_path(name, by_hand);
    }
    messages.bytes(["."]).include_file("messages.rs").compile_fds(descriptors.clone())?;

    let mut json = pbjson_build::Builder::new();
    for file in &descriptors.file {
        json.register_file_descriptor(file.clone());
    }
    for (name, by_hand) in BY_HAND {
        json.extern_path(name, by_hand);
    }
    json.preserve_proto_field_names()
        .ignore_unknown_fields()
        .exclude(BY_HAND.map(|(name, _)| name))
        .build(&[".authpb", ".etcdserverpb", ".v3lockpb", ".v3electionpb"])?;

    fs::write(out.join("reflection.rs"), reflection(&out, &descriptors.file)?)?;
    Ok(())
}

/// A table of `(file name, its descriptor, the names that it declares)`.
fn reflection(out: &Path, files: &[FileDescriptorProto]) -> Result<String, Box<dyn Error>> {
    let mut table = String::from("&[\n");
    for file in files {
        let name = file.name();
        let encoded = out.join(format!("{name}.bin"));
        fs::write(&encoded, file.encode_to_vec())?;
        let mut symbols = Vec::new();
        let package = file.package();
        for service in &file.service {
            symbols.push(format!("{package}.{}", service.name()));
            let methods = service.method.iter();
            symbols.extend(methods.map(|m| format!("{package}.{}.{}", service.name(), m.name())));
        }
        for message in &file.message_type {
            symbols.push(format!("{package}.{}", message.name()));
            let nested = message.enum_type.iter();
            symbols.extend(nested.map(|e| format!("{package}.{}.{}", message.name(), e.name())));
        }
        symbols.extend(file.enum_type.iter().map(|e| format!("{package}.{}", e.name())));
        let encoded = encoded.display().to_string();
        writeln!(table, "    ({name:?}, include_bytes!({encoded:?}), &{symbols:?}),")?;
    }
    table.push(']');
    Ok(table)
}
