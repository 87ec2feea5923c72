//! Runs a command inside a machine, as an agent would run: `enter <machine directory> <command> [argument…]`. The tests use
//! it, and so can whoever wants to look around in one.

use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), Some(command)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: enter <machine directory> <command> [argument…]");
        std::process::exit(2);
    };
    if let Err(error) = cloud_local::enter(directory.as_ref()) {
        eprintln!("{error}");
        std::process::exit(1);
    }
    let error = Command::new(&command).args(arguments).exec();
    eprintln!("{}: {error}", command.to_string_lossy());
    std::process::exit(127);
}
