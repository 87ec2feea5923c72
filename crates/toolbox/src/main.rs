//! The toolbox alone, for its own tests: `toolbox PROGRAM args…`, or a link to it named as the program.

use std::ffi::OsStr;
use std::process::exit;

fn main() {
    let args: Vec<_> = std::env::args_os().collect();
    let status = args.split_first().and_then(|(name, rest)| {
        let direct = toolbox::main(name, rest);
        direct.or_else(|| rest.split_first().and_then(|(name, rest)| toolbox::main(OsStr::new(name), rest)))
    });
    exit(status.unwrap_or_else(|| {
        eprintln!("programs: {}", toolbox::names().collect::<Vec<_>>().join(" "));
        127
    }));
}
