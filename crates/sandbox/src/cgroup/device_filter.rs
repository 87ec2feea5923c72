//! Devices on v2: there is no controller with files, but a BPF program per cgroup that is asked for each access.
//!
//! The program is a list of rules as v1's `devices.allow` has them; nothing matches, nothing is allowed. Assembled by hand,
//! because a dozen instructions are not worth a library.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::spec::Device;
use crate::sys;

/// One instruction, as the kernel lays it out.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// What is allowed: `None` for any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    block: bool,
    major: Option<u32>,
    minor: Option<u32>,
    access: i32,
}

const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

/// Attaches a filter for these devices to an open v2 cgroup directory. As with v1, any node may be made, terminals may be
/// used, and the rest is what the container has.
pub fn attach(cgroup: &OwnedFd, devices: &[Device]) -> io::Result<()> {
    let program = load(&assemble(&rules(devices)))?;
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    const PROG_ATTACH: i32 = 8;
    let attr = Attach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: attr lives across the call and has the size that is given.
    sys::check_io(unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attr, size_of::<Attach>()) }).map(drop)
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
    }
    const CGROUP_DEVICE: u32 = 15;
    const PROG_LOAD: i32 = 5;
    const LICENSE: &CStr = c"Apache-2.0";
    let attr = Load {
        kind: CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: attr and what it points to live across the call; the descriptor is new.
    unsafe {
        let fd = sys::check_io(libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attr, size_of::<Load>()))?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

fn rules(devices: &[Device]) -> Vec<Rule> {
    let all = MKNOD | READ | WRITE;
    let any = |block| Rule { block, major: None, minor: None, access: MKNOD };
    let char = |major, minor| Rule { block: false, major: Some(major), minor, access: all };
    let own = devices.iter().map(|d| Rule {
        block: d.block,
        major: Some(d.major),
        minor: Some(d.minor),
        access: d.access.chars().fold(0, |mask, c| {
            mask | match c {
                'r' => READ,
                'w' => WRITE,
                'm' => MKNOD,
                _ => 0,
            }
        }),
    });
    // Any node may be made; the console, the terminals' multiplexer and the terminals may be used.
    [any(false), any(true), char(5, Some(1)), char(5, Some(2)), char(136, None)].into_iter().chain(own).collect()
}

fn assemble(rules: &[Rule]) -> Vec<Instruction> {
    const LOAD_WORD: u8 = 0x61;
    const MOVE_32: u8 = 0xbc;
    const MOVE_IMMEDIATE: u8 = 0xb7;
    const AND_32: u8 = 0x54;
    const SHIFT_RIGHT_32: u8 = 0x74;
    const UNLESS_EQUAL_32: u8 = 0x56;
    const UNLESS_SAME: u8 = 0x5d;
    const EXIT: u8 = 0x95;
    let op = |code, destination: u8, source: u8, offset, immediate| Instruction {
        code,
        registers: destination | source << 4,
        offset,
        immediate,
    };
    // The context: access in the high and type in the low half of a word, then major, then minor.
    let mut program = vec![
        op(LOAD_WORD, 2, 1, 0, 0),
        op(MOVE_32, 3, 2, 0, 0),
        op(AND_32, 2, 0, 0, 0xffff),
        op(SHIFT_RIGHT_32, 3, 0, 0, 16),
        op(LOAD_WORD, 4, 1, 4, 0),
        op(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        // Jumps go past the end of the block; their distance is known when it is complete.
        let mut block = vec![op(UNLESS_EQUAL_32, 2, 0, 0, if rule.block { 1 } else { 2 })];
        if rule.access != MKNOD | READ | WRITE {
            block.extend([op(MOVE_32, 1, 3, 0, 0), op(AND_32, 1, 0, 0, rule.access), op(UNLESS_SAME, 1, 3, 0, 0)]);
        }
        block.extend(rule.major.map(|n| op(UNLESS_EQUAL_32, 4, 0, 0, n as i32)));
        block.extend(rule.minor.map(|n| op(UNLESS_EQUAL_32, 5, 0, 0, n as i32)));
        block.extend([op(MOVE_IMMEDIATE, 0, 0, 0, 1), op(EXIT, 0, 0, 0, 0)]);
        let length = block.len() as i16;
        for (at, instruction) in block.iter_mut().enumerate() {
            if matches!(instruction.code, UNLESS_EQUAL_32 | UNLESS_SAME) {
                instruction.offset = length - at as i16 - 1;
            }
        }
        program.extend(block);
    }
    program.extend([op(MOVE_IMMEDIATE, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::default_devices;
    use crate::{cgroup::Hierarchies, cgroup::Kind};
    use std::process::Command;

    #[test]
    fn jumps_stay_inside() {
        let program = assemble(&rules(&default_devices()));
        for (at, i) in program.iter().enumerate().filter(|(_, i)| i.offset != 0 && i.code != 0x61) {
            let target = at as i16 + 1 + i.offset;
            assert!((target as usize) < program.len(), "{at}: {i:?}");
        }
    }

    #[test]
    fn the_kernel_takes_it_and_keeps_to_it() {
        let Some(v2) = Hierarchies::detect().unwrap().list.into_iter().find(|h| matches!(h.kind, Kind::V2(_))) else {
            panic!("no cgroup v2 tree is mounted");
        };
        let dir = v2.mountpoint.join(format!("ferry-test-devices-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let try_open = |path: &str| {
            let script = format!("echo 0 >{}/cgroup.procs; exec 3<{path}", dir.display());
            Command::new("/bin/sh").args(["-c", &script]).output().unwrap().status.success()
        };
        let before = (try_open("/dev/zero"), try_open("/dev/kmsg"));
        let attached = std::fs::File::open(&dir).and_then(|fd| attach(&fd.into(), &default_devices()));
        let after = (try_open("/dev/zero"), try_open("/dev/kmsg"));
        std::fs::remove_dir(&dir).unwrap();
        attached.unwrap();
        assert_eq!((before, after), ((true, true), (true, false)));
    }
}
