//! `/proc/self/mountinfo` (proc(5)), as far as needed.

use std::path::PathBuf;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    pub mountpoint: PathBuf,
    pub fstype: String,
    /// Options of the superblock: for cgroup v1 they name the controllers.
    pub super_options: Vec<String>,
}

/// Parses the file; lines that are not understood are skipped.
pub fn parse(text: &str) -> Vec<MountInfo> {
    text.lines().filter_map(line).collect()
}

/// The mounts of this process.
pub fn read() -> std::io::Result<Vec<MountInfo>> {
    Ok(parse(&std::fs::read_to_string("/proc/self/mountinfo")?))
}

fn line(text: &str) -> Option<MountInfo> {
    // 36 35 98:0 /root /mountpoint rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    let (left, right) = text.split_once(" - ")?;
    let mountpoint = base::escape::mountinfo(left.split(' ').nth(4)?).into_owned();
    let mut right = right.split(' ');
    let fstype = right.next()?.to_string();
    let super_options = right.nth(1).unwrap_or("").split(',').map(str::to_string).collect();
    Some(MountInfo { mountpoint: mountpoint.into(), fstype, super_options })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let got = parse(
            "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
             40 1 0:3 / /a\\040b rw shared:1 master:2 - ext4 /dev/sda1 rw\nbroken\n",
        );
        assert_eq!(got.len(), 2);
        assert_eq!(got[0].super_options, ["rw", "cpu"]);
        assert_eq!(got[1].mountpoint, PathBuf::from("/a b"));
        assert_eq!(got[1].fstype, "ext4");
    }
}
