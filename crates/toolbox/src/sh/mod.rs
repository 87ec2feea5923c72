//! A small POSIX shell: enough for `kubectl exec`, container commands, probes and tests, and honest about the rest.
//!
//! Here: words and quotes, parameters and their operators, arithmetic, command substitution, pipes, redirections and
//! here-documents, lists, `if while until for case`, functions, traps, background jobs. Absent: job control, aliases, line editing (the
//! terminal's own must do), `getopts`. See [`run`] for how it does without fork.

pub mod arith;
pub mod ast;
mod builtins;
mod expand;
pub mod jobs;
pub mod parse;
pub mod run;

use ast::{AndOr, Command, Kind, List, Pipeline};
use parse::ParseError;
use run::{Descriptors, Flow, Options, Shell, Variable};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

/// `sh [-eux] [-c script [name args…] | file args… | -s]`; returns the exit status.
pub fn main(name: &str, args: &[String]) -> i32 {
    let mut shell = Shell::start(name);
    let mut rest = args;
    let (mut script, mut interactive) = (None, false);
    while let Some(flags) = rest.first().and_then(|arg| arg.strip_prefix('-')).filter(|flags| !flags.is_empty()) {
        rest = &rest[1..];
        for flag in flags.chars() {
            match flag {
                'c' => script = Some(()),
                'e' => shell.options.errexit = true,
                'u' => shell.options.nounset = true,
                'x' => shell.options.xtrace = true,
                'i' => interactive = true,
                // Login shells and reading from standard input need nothing special.
                'l' | 's' => {}
                other => {
                    shell.complain(&format!("illegal option -{other}"));
                    return 2;
                }
            }
        }
    }
    let mut rest = rest.iter().cloned();
    if script.is_some() {
        let Some(text) = rest.next() else {
            shell.complain("-c requires an argument");
            return 2;
        };
        shell.name = rest.next().unwrap_or_else(|| name.to_string());
        shell.args = rest.collect();
        return shell.script(&text, true);
    }
    if let Some(path) = rest.next() {
        shell.name = path.clone();
        shell.args = rest.collect();
        return match std::fs::read_to_string(&path) {
            Ok(text) => shell.script(&text, false),
            Err(error) => {
                shell.complain(&format!("can't open {path}: {}", run::reason(&error)));
                127
            }
        };
    }
    let interactive = interactive || rustix::termios::isatty(std::io::stdin());
    shell.interact(interactive)
}

impl Shell {
    fn start(name: &str) -> Shell {
        let variables: HashMap<_, _> = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .map(|(name, value)| (name, Variable { value, exported: true }))
            .collect();
        let mut fds = Descriptors::new();
        let standard = [
            std::io::stdin().as_fd().try_clone_to_owned(),
            std::io::stdout().as_fd().try_clone_to_owned(),
            std::io::stderr().as_fd().try_clone_to_owned(),
        ];
        for (n, fd) in (0..).zip(standard) {
            if let Ok(fd) = fd {
                fds.insert(n, Arc::new(File::from(fd)));
            }
        }
        Shell {
            variables,
            functions: HashMap::new(),
            name: name.to_string(),
            args: Vec::new(),
            cwd: std::env::current_dir().unwrap_or_else(|_| "/".into()),
            fds,
            status: 0,
            options: Options::default(),
            jobs: BTreeMap::new(),
            last_job: None,
            next_job: 1,
            traps: BTreeMap::new(),
            events: jobs::Events::default(),
            watch: Arc::default(),
            stop: run::Stop::default(),
            announce: None,
            guarded: 0,
            depth: 0,
            subshell: false,
            replace: false,
            locals: Vec::new(),
        }
    }

    fn script(mut self, text: &str, command: bool) -> i32 {
        match parse::parse(text) {
            Ok(list) => {
                self.replace = command && is_single(&list);
                self.finish(|shell| shell.list(&list))
            }
            Err(error) => {
                self.complain(&describe(&error));
                2
            }
        }
    }

    /// Reads commands from standard input, with prompts if somebody types them.
    fn interact(mut self, interactive: bool) -> i32 {
        if interactive {
            // An interrupt is for the program in the foreground, not for the shell.
            let mut watch = self.watch.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if let Err(message) = watch.add(2, &self.events) {
                self.complain(&message);
            }
        }
        let mut text = String::new();
        let mut input = std::io::stdin().lock();
        loop {
            if interactive {
                let prompt = if text.is_empty() { self.prompt() } else { "> ".to_string() };
                let _ = std::io::stderr().write_all(prompt.as_bytes());
            }
            let mut line = Vec::new();
            let ended = !matches!(input.read_until(b'\n', &mut line), Ok(n) if n > 0);
            text.push_str(&String::from_utf8_lossy(&line));
            match parse::parse(&text) {
                Err(ParseError::Incomplete) if !ended => continue,
                Err(error) if !text.is_empty() => {
                    self.complain(&describe(&error));
                    self.status = 2;
                    if !interactive {
                        return 2;
                    }
                }
                Err(_) => {}
                Ok(list) => match self.list(&list) {
                    Ok(_) => {}
                    // A faulty expansion ends a script, but not a session.
                    Err(Flow::Exit(2)) if interactive && !text.trim_start().starts_with("exit") => self.status = 2,
                    Err(Flow::Exit(status)) => return self.finish(|_| Ok(status)),
                    Err(_) => {}
                },
            }
            text.clear();
            if ended {
                if interactive {
                    let _ = std::io::stderr().write_all(b"\n");
                }
                let status = self.status;
                return self.finish(|_| Ok(status));
            }
        }
    }

    fn prompt(&self) -> String {
        let sign = if rustix::process::geteuid().is_root() { '#' } else { '$' };
        self.value("PS1").unwrap_or_else(|| format!("{} {sign} ", self.cwd.display()))
    }
}

/// Whether a script is one simple command, so that it can take the shell's place.
fn is_single(list: &List) -> bool {
    let [(AndOr { first: Pipeline { negated: false, commands }, rest }, false)] = list.0.as_slice() else {
        return false;
    };
    rest.is_empty() && matches!(commands.as_slice(), [Command { kind: Kind::Simple { .. }, .. }])
}

fn describe(error: &ParseError) -> String {
    match error {
        ParseError::Incomplete => "syntax error: unexpected end of file".to_string(),
        ParseError::Syntax(message) => message.clone(),
    }
}
