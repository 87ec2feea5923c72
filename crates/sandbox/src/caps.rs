//! Capabilities: names, containerd's default set, and what add and drop make of it.

use crate::spec::CapSets;

/// Names by number (`capability.h`), without the `CAP_` prefix.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has without a word about capabilities (containerd's and Docker's fourteen).
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Every capability that this module knows.
pub const ALL: u64 = (1 << NAMES.len()) - 1;

/// The bit of one name, with or without `CAP_`, in any case.
pub fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|n| *n == short).map(|i| 1 << i)
}

/// The default set as a mask.
pub fn default_mask() -> u64 {
    DEFAULT.iter().filter_map(|n| bit(n)).fold(0, |a, b| a | b)
}

/// The names in a mask, with `CAP_`.
pub fn names(mask: u64) -> Vec<String> {
    (0..NAMES.len()).filter(|i| mask >> i & 1 == 1).map(|i| format!("CAP_{}", NAMES[i])).collect()
}

/// What a container gets. `ALL` in `add` or `drop` works as in the kubelet: drop ALL first, then the adds; add ALL
/// first, then the drops. `available` is what this process itself may give (its own bounding set).
/// An unknown name is an error that names it.
pub fn resolve(
    privileged: bool,
    add: &[String],
    drop: &[String],
    ambient: &[String],
    available: u64,
) -> Result<CapSets, String> {
    let all = |list: &[String]| list.iter().any(|n| n.eq_ignore_ascii_case("all"));
    let mask = |list: &[String]| {
        list.iter().filter(|n| !n.eq_ignore_ascii_case("all")).try_fold(0, |acc, n| {
            bit(n).map(|b| acc | b).ok_or_else(|| format!("unknown capability to add or drop: {n:?}"))
        })
    };
    let (added, dropped, ambient) = (mask(add)?, mask(drop)?, mask(ambient)?);
    let mut set = if privileged || all(add) {
        ALL
    } else if all(drop) {
        0
    } else {
        default_mask()
    };
    if !privileged {
        set = (set | added | ambient) & !dropped;
        if all(drop) {
            set |= added;
        }
    }
    let set = set & available;
    Ok(CapSets { bounding: set, permitted: set, ambient: ambient & set })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(s: &[&str]) -> Vec<String> {
        s.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn add_and_drop() {
        let check = |add: &[&str], drop: &[&str], want: u64| {
            let got = resolve(false, &strings(add), &strings(drop), &[], ALL).unwrap();
            assert_eq!(names(got.bounding), names(want), "add {add:?} drop {drop:?}");
        };
        let b = |n| bit(n).unwrap();
        check(&[], &[], 0xa80425fb);
        check(&["NET_ADMIN"], &[], 0xa80425fb | b("NET_ADMIN"));
        check(&["cap_sys_time"], &["KILL"], (0xa80425fb | b("SYS_TIME")) & !b("KILL"));
        check(&[], &["ALL"], 0);
        check(&["NET_BIND_SERVICE"], &["ALL"], b("NET_BIND_SERVICE"));
        check(&["ALL"], &["SYS_ADMIN"], ALL & !b("SYS_ADMIN"));
    }

    #[test]
    fn never_more_than_there_is() {
        let got = resolve(true, &[], &[], &[], ALL & !bit("SYS_RESOURCE").unwrap()).unwrap();
        assert!(!names(got.bounding).contains(&"CAP_SYS_RESOURCE".to_string()));
    }

    #[test]
    fn unknown_names_are_named() {
        let error = resolve(false, &strings(&["NET_ADMNI"]), &[], &[], ALL).unwrap_err();
        assert_eq!(error, "unknown capability to add or drop: \"NET_ADMNI\"");
    }
}
