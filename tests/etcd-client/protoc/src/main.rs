//! The part of protoc that build scripts use: compiles interface files to a descriptor set.
//!
//! `protoc [--include_imports] [--include_source_info] -o OUT -I DIR… FILE…`

use std::{env, error::Error, fs, path::PathBuf, process::ExitCode};

use prost::Message as _;

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("protoc: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let (mut out, mut roots, mut files) = (None, Vec::new(), Vec::new());
    let (mut imports, mut source_info) = (false, false);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--version" => {
                println!("libprotoc 31.0");
                return Ok(());
            }
            "--include_imports" => imports = true,
            "--include_source_info" => source_info = true,
            "--experimental_allow_proto3_optional" => {}
            "-o" => out = Some(args.next().ok_or("-o needs a file")?),
            "-I" => roots.push(PathBuf::from(args.next().ok_or("-I needs a directory")?)),
            other if other.starts_with("-I") => roots.push(PathBuf::from(&other[2..])),
            other if other.starts_with('-') => return Err(format!("unknown flag {other}").into()),
            file => files.push(PathBuf::from(file)),
        }
    }
    let mut compiler = protox::Compiler::new(&roots)?;
    compiler.include_imports(imports).include_source_info(source_info);
    compiler.open_files(&files)?;
    let set = compiler.file_descriptor_set().encode_to_vec();
    fs::write(out.ok_or("-o is missing")?, set)?;
    Ok(())
}
