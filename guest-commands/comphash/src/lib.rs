//! `comphash PATH` prints the SHA-1 sum of a file. What goes wrong is part of the reply, spelled as clients know it.

#![no_std]

use wasmline_sdk::command;
use wasmline_sdk::digest::{self, Algorithm, Error};
use wasmline_sdk::prelude::*;

command!(comphash, no_std);

fn comphash(args: Vec<String>) -> Result {
    let [path] = args.as_slice() else {
        reply!("Please provide a path.")?;
        return Ok(());
    };
    match digest::hash_file(path, Algorithm::Sha1) {
        Ok(sum) => reply!("File hash is : {}", digest::hex(&sum))?,
        Err(error) => reply!("An error occured : {}", reason(error))?,
    }
    Ok(())
}

fn reason(error: Error) -> String {
    match error {
        Error::Denied => "Not permitted".to_owned(),
        Error::NotFound => "No such file".to_owned(),
        Error::BadPath => "Not an absolute path".to_owned(),
        Error::NotAFile => "Not a regular file".to_owned(),
        Error::Permission => "Permission denied".to_owned(),
        Error::TooLarge(bound) => format!("Longer than {bound} bytes"),
        Error::Io(reason) => reason,
    }
}
