//! Packs the relative relocations of the binary (DT_RELR) where the C library it is linked with can unpack them.
//!
//! A static binary at a random address relocates itself when it starts: unpacked, the table for that is 1.3 MB of the file,
//! and every process (daemon, agent, each pod's shim) reads all of it into its memory. Decided against a fixed address,
//! which needs no table: the daemon is root's, and its addresses should not be known beforehand.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if packs().unwrap_or(false) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// glibc unpacks from 2.36 on, an older one would crash at the start; rustc's own linker, the default on x86-64, packs.
fn packs() -> Option<bool> {
    let cfg = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    let native = env::var("HOST").ok()? == env::var("TARGET").ok()?;
    if !native || cfg("ENV") != "gnu" || cfg("ARCH") != "x86_64" {
        return Some(false);
    }
    let out = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?) >= (2, 36))
}
