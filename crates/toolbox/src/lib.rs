//! The multi-call programs inside the demo image: one binary that acts as the program argv[0] names.
//!
//! Plain blocking code without a runtime, because a container with two replicas of it should weigh nothing. Programs follow
//! POSIX in the options that scripts, probes and people in `kubectl exec` use; an option they do not know is an error, never
//! ignored. Nothing here knows Kubernetes but the demo page of [`httpd`], which shows what the downward API gave it.

mod common;
mod files;
pub mod glob;
pub mod httpd;
mod list;
mod net;
mod resolve;
pub mod sh;
mod system;
pub mod text;
mod text_programs;

use common::{Failure, Outcome};
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

type Program = fn(&[String]) -> Outcome;

/// Every program by name. The demo image has a link for each.
const PROGRAMS: [(&str, Program); 39] = [
    ("[", text_programs::bracket),
    ("cat", text_programs::cat),
    ("cp", files::cp),
    ("date", system::date),
    ("echo", text_programs::echo),
    ("env", system::env),
    ("false", |_| Ok(1)),
    ("grep", text_programs::grep),
    ("head", text_programs::head),
    ("hostname", system::hostname),
    ("httpd", httpd::main),
    ("id", system::id),
    ("kill", system::kill_main),
    ("ln", files::ln),
    ("ls", list::ls),
    ("mkdir", files::mkdir),
    ("mv", files::mv),
    ("nc", net::nc),
    ("nslookup", resolve::nslookup),
    ("printf", text_programs::printf),
    ("ps", system::ps),
    ("pwd", system::pwd),
    ("readlink", files::readlink),
    ("rm", files::rm),
    ("rmdir", files::rmdir),
    ("seq", text_programs::seq),
    ("sh", shell),
    ("sleep", system::sleep),
    ("stat", list::stat),
    ("tail", text_programs::tail),
    ("tee", text_programs::tee),
    ("test", text_programs::test),
    ("touch", files::touch),
    ("true", |_| Ok(0)),
    ("tty", system::tty),
    ("uname", system::uname),
    ("wc", text_programs::wc),
    ("wget", net::wget),
    ("whoami", system::whoami),
];

/// The names of all programs, for the links of an image.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().map(|(name, _)| *name)
}

/// Whether `name` is a program of this crate.
pub fn is_applet(name: &str) -> bool {
    PROGRAMS.iter().any(|(known, _)| *known == name)
}

/// Runs the program that `argv0` (a path or a name) names, with its arguments. `None` if there is no such program: then the
/// caller is something else.
pub fn main<S: AsRef<OsStr>>(argv0: &OsStr, args: impl IntoIterator<Item = S>) -> Option<i32> {
    let name = Path::new(argv0).file_name()?.to_str()?;
    // A login shell's name starts with a dash.
    let name = name.strip_prefix('-').unwrap_or(name);
    let program = PROGRAMS.iter().find(|(known, _)| *known == name)?.1;
    let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_string_lossy().into_owned()).collect();
    Some(match program(&args) {
        Ok(status) => status,
        Err(Failure::Quiet(status)) => status,
        Err(Failure::Message(message)) => {
            let _ = writeln!(std::io::stderr(), "{name}: {message}");
            // Tests and searches reserve 1 for "no".
            if matches!(name, "test" | "[" | "grep") { 2 } else { 1 }
        }
    })
}

fn shell(args: &[String]) -> Outcome {
    Ok(sh::main("sh", args))
}
