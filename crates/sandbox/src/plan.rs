//! From a [`ContainerSpec`] to the steps that make its file system, as data: pure, printable, and free of allocation
//! when the child walks it.
//!
//! The order is what makes it safe. The overlay is mounted and pivoted into first; sources of bind mounts are detached
//! copies that the parent opened before; so every later path is looked up with the container's own root as `/`, and no
//! link in an image can reach the host.

use std::ffi::CString;
use std::fmt;
use std::path::Path;

use crate::cgroup::{Hierarchy, Kind};
use crate::spec::{ContainerSpec, ImageSource, Propagation};

/// One step of the child. Paths before [`Step::Pivot`] are the host's, after it the container's.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// Cut the copied mount tree off from the host's propagation.
    Isolate,
    /// Open a directory as descriptor number `fd`. In the child, because an overlay takes only directories that are seen
    /// in its own mount namespace; by number, because forty paths of layers do not fit into the page that mount(2) takes.
    Open { path: CString, fd: i32 },
    /// Mount the overlay; lower, upper and work directories are opened before.
    Overlay { mountpoint: CString, options: CString },
    /// Mount an image's layers read-only, and open a directory in it as a detached mount, descriptor number `fd`.
    Image { mountpoint: CString, options: CString, sub_path: CString, fd: i32 },
    /// Make it the root and let the old one go.
    Pivot { root: CString },
    /// Make a directory; fine if it is there.
    Mkdir(CString),
    /// Make an empty file; fine if it is there.
    Touch(CString),
    /// mount(2).
    Mount { source: CString, target: CString, fstype: CString, flags: u64, data: CString },
    /// Attach bind source number `source`.
    Attach { source: usize, target: CString },
    /// mount_setattr(2).
    SetAttr { target: CString, readonly: bool, propagation: u64, recursive: bool },
    /// mknod(2) and chmod(2).
    Node { path: CString, block: bool, major: u32, minor: u32, mode: u32 },
    /// symlink(2); fine if it is there.
    Link { link: CString, target: CString },
    /// Hide a file or directory; fine if it is not there.
    Mask(CString),
    /// Make a path read-only; fine if it is not there.
    Readonly(CString),
}

/// What the executor found out for the plan.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Per bind: is the source a directory?
    pub directories: Vec<bool>,
    pub shm_is_bound: bool,
    /// Those that the container joins, to be seen under `/sys/fs/cgroup`.
    pub hierarchies: Vec<Hierarchy>,
}

/// All steps, or the message of what in the spec cannot be expressed (a NUL in a path).
pub fn plan(spec: &ContainerSpec, facts: &Facts) -> Result<Vec<Step>, String> {
    let mut p = Builder { steps: Vec::new() };
    p.steps.push(Step::Isolate);
    // Highest first, as overlayfs wants them.
    let lower = spec.rootfs.layers.iter().rev();
    let directories = [&spec.rootfs.upper, &spec.rootfs.work].into_iter().chain(lower);
    let mut rootfs = Vec::new();
    for (fd, path) in (FIRST_FD..).zip(directories) {
        rootfs.push(Step::Open { path: c(path_text(path)?)?, fd });
    }
    let layers: Vec<String> =
        (FIRST_FD + 2..).take(spec.rootfs.layers.len()).map(|fd| format!("/proc/self/fd/{fd}")).collect();
    // volatile: an upper directory is never mounted twice, so there is nothing to sync for when the container ends.
    let options = format!(
        "lowerdir={},upperdir=/proc/self/fd/{},workdir=/proc/self/fd/{},volatile",
        layers.join(":"),
        FIRST_FD,
        FIRST_FD + 1
    );
    let root = path_text(&spec.rootfs.mountpoint)?;
    for (i, source) in images(spec) {
        p.image(i, source)?;
    }
    p.steps.extend(rootfs);
    p.steps.push(Step::Overlay { mountpoint: c(root)?, options: c(&options)? });
    p.steps.push(Step::Pivot { root: c(root)? });
    p.kernel_filesystems(spec, facts)?;
    p.dev(spec, facts)?;
    for (i, bind) in spec.mounts.iter().enumerate() {
        p.bind(i, bind, facts.directories.get(i).copied().unwrap_or(true))?;
    }
    for path in &spec.masked_paths {
        p.steps.push(Step::Mask(c(path)?));
    }
    for path in &spec.readonly_paths {
        p.steps.push(Step::Readonly(c(path)?));
    }
    if spec.rootfs.readonly {
        p.steps.push(Step::SetAttr { target: c("/")?, readonly: true, propagation: 0, recursive: false });
    }
    Ok(p.steps)
}

/// Above every descriptor that a shim has open, below the usual soft limit with overlayfs's own of 500 layers.
const FIRST_FD: i32 = 500;

/// Every prefix of a path: `/a/b` gives `/a` and `/a/b`.
pub(crate) fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    path.char_indices()
        .skip(1)
        .filter(|(_, ch)| *ch == '/')
        .map(|(i, _)| i)
        .chain(std::iter::once(path.len()))
        .map(|end| &path[..end])
        .filter(|p| !p.ends_with('/') && !p.is_empty())
}

/// The detached mounts of images, from the usual soft limit downwards: see [`FIRST_FD`].
const LAST_FD: i32 = 1023;

/// The binds that are images, with the numbers of their detached mounts.
fn images(spec: &ContainerSpec) -> impl Iterator<Item = (i32, &ImageSource)> {
    (0..).zip(spec.mounts.iter().filter_map(|bind| bind.image.as_ref())).map(|(n, source)| (LAST_FD - n, source))
}

/// The source of each bind, as a descriptor's number: detached copies that the parent has opened, or what the child opens.
pub(crate) fn image_fds(spec: &ContainerSpec) -> impl Iterator<Item = i32> {
    images(spec).map(|(fd, _)| fd)
}

struct Builder {
    steps: Vec<Step>,
}

const COMMON: u64 = libc::MS_NOSUID | libc::MS_NOEXEC | libc::MS_NODEV;

impl Builder {
    fn mkdirs(&mut self, path: &str) -> Result<(), String> {
        for prefix in prefixes(path) {
            self.steps.push(Step::Mkdir(c(prefix)?));
        }
        Ok(())
    }

    fn mount(&mut self, fstype: &str, target: &str, flags: u64, data: &str) -> Result<(), String> {
        self.mkdirs(target)?;
        self.steps.push(Step::Mount {
            source: c(fstype)?,
            target: c(target)?,
            fstype: c(fstype)?,
            flags,
            data: c(data)?,
        });
        Ok(())
    }

    /// Before the pivot, because an overlay takes only layers that are seen where it is mounted.
    fn image(&mut self, fd: i32, source: &ImageSource) -> Result<(), String> {
        // An overlay without an upper directory wants two lower ones: the last is the empty mount point itself.
        let lower: Vec<&Path> =
            source.layers.iter().rev().map(|p| p.as_path()).chain([source.mountpoint.as_path()]).collect();
        for (number, path) in (FIRST_FD..).zip(&lower) {
            self.steps.push(Step::Open { path: c(path_text(path)?)?, fd: number });
        }
        let numbers: Vec<String> = (FIRST_FD..).take(lower.len()).map(|n| format!("/proc/self/fd/{n}")).collect();
        self.steps.push(Step::Image {
            mountpoint: c(path_text(&source.mountpoint)?)?,
            options: c(&format!("lowerdir={}", numbers.join(":")))?,
            sub_path: c(&source.sub_path)?,
            fd,
        });
        Ok(())
    }

    fn kernel_filesystems(&mut self, spec: &ContainerSpec, facts: &Facts) -> Result<(), String> {
        let readonly = if spec.privileged { 0 } else { libc::MS_RDONLY };
        self.mount("proc", "/proc", COMMON, "")?;
        self.mount("sysfs", "/sys", COMMON | readonly, "")?;
        // sysfs has the directory already.
        let top = "/sys/fs/cgroup";
        // Beside v1 a v2 hierarchy has no controllers: whoever finds it reads limits in it that are not there.
        let v1 = facts.hierarchies.iter().any(|h| matches!(h.kind, Kind::V1(_)));
        let shown = || facts.hierarchies.iter().filter(|h| !v1 || !matches!(&h.kind, Kind::V2(_)));
        let alone = shown().count() == 1;
        if !alone && shown().next().is_some() {
            self.steps.push(Step::Mount {
                source: c("tmpfs")?,
                target: c(top)?,
                fstype: c("tmpfs")?,
                flags: COMMON,
                data: c("mode=755,size=64k")?,
            });
        }
        for h in shown() {
            let name = h.mountpoint.file_name().and_then(|n| n.to_str()).unwrap_or("cgroup");
            let target = if alone { top.to_string() } else { format!("{top}/{name}") };
            let (fstype, data) = match &h.kind {
                Kind::V2(_) => ("cgroup2", String::new()),
                Kind::Named(n) => ("cgroup", format!("none,name={n}")),
                Kind::V1(list) => ("cgroup", list.join(",")),
            };
            if !alone {
                self.steps.push(Step::Mkdir(c(&target)?));
            }
            self.steps.push(Step::Mount {
                source: c("cgroup")?,
                target: c(&target)?,
                fstype: c(fstype)?,
                flags: COMMON | readonly,
                data: c(&data)?,
            });
        }
        Ok(())
    }

    fn dev(&mut self, spec: &ContainerSpec, facts: &Facts) -> Result<(), String> {
        self.mount("tmpfs", "/dev", libc::MS_NOSUID | libc::MS_STRICTATIME, "mode=755,size=65536k")?;
        let pts = libc::MS_NOSUID | libc::MS_NOEXEC;
        self.mount("devpts", "/dev/pts", pts, "newinstance,ptmxmode=0666,mode=0620,gid=5")?;
        self.mount("mqueue", "/dev/mqueue", COMMON, "")?;
        if facts.shm_is_bound {
            self.steps.push(Step::Mkdir(c("/dev/shm")?));
            self.steps.push(Step::Attach { source: spec.mounts.len(), target: c("/dev/shm")? });
        } else {
            self.mount("tmpfs", "/dev/shm", COMMON, "mode=1777,size=65536k")?;
        }
        for d in &spec.devices {
            if let Some((parent, _)) = d.path.rsplit_once('/').filter(|(p, _)| !p.is_empty() && *p != "/dev") {
                self.mkdirs(parent)?;
            }
            self.steps.push(Step::Node {
                path: c(&d.path)?,
                block: d.block,
                major: d.major,
                minor: d.minor,
                mode: d.mode,
            });
        }
        for (link, target) in [
            ("/dev/fd", "/proc/self/fd"),
            ("/dev/stdin", "/proc/self/fd/0"),
            ("/dev/stdout", "/proc/self/fd/1"),
            ("/dev/stderr", "/proc/self/fd/2"),
            ("/dev/ptmx", "pts/ptmx"),
        ] {
            self.steps.push(Step::Link { link: c(link)?, target: c(target)? });
        }
        if spec.process.tty {
            self.steps.push(Step::Touch(c("/dev/console")?));
        }
        Ok(())
    }

    fn bind(&mut self, source: usize, bind: &crate::spec::Bind, directory: bool) -> Result<(), String> {
        let target = bind.target.trim_end_matches('/');
        if !target.starts_with('/') {
            return Err(format!("mount path {:?} is not an absolute path below /", bind.target));
        }
        if directory {
            self.mkdirs(target)?;
        } else {
            if let Some((parent, _)) = target.rsplit_once('/') {
                self.mkdirs(parent)?;
            }
            self.steps.push(Step::Touch(c(target)?));
        }
        self.steps.push(Step::Attach { source, target: c(target)? });
        let propagation = match bind.propagation {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::HostToContainer => libc::MS_SLAVE,
            Propagation::Bidirectional => libc::MS_SHARED,
        };
        self.steps.push(Step::SetAttr { target: c(target)?, readonly: false, propagation, recursive: true });
        if bind.readonly {
            let recursive = bind.recursive_readonly;
            self.steps.push(Step::SetAttr { target: c(target)?, readonly: true, propagation: 0, recursive });
        }
        Ok(())
    }
}

fn path_text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("path {} is not UTF-8", path.display()))
}

fn c(s: &str) -> Result<CString, String> {
    CString::new(s).map_err(|_| format!("{s:?} contains a NUL byte"))
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |c: &CString| c.to_string_lossy().into_owned();
        match self {
            Step::Isolate => f.write_str("make mounts private"),
            Step::Open { path, fd } => write!(f, "open {} as {fd}", s(path)),
            Step::Overlay { mountpoint, options } => write!(f, "mount overlay on {} ({})", s(mountpoint), s(options)),
            Step::Image { mountpoint, options, sub_path, fd } => {
                write!(f, "mount image on {} ({}), open {:?} in it as {fd}", s(mountpoint), s(options), s(sub_path))
            }
            Step::Pivot { root } => write!(f, "pivot_root to {}", s(root)),
            Step::Mkdir(p) => write!(f, "mkdir {}", s(p)),
            Step::Touch(p) => write!(f, "touch {}", s(p)),
            Step::Mount { target, fstype, flags, data, .. } => {
                write!(f, "mount {} on {} (flags {flags:#x}, {:?})", s(fstype), s(target), s(data))
            }
            Step::Attach { source, target } => write!(f, "bind source {source} on {}", s(target)),
            Step::SetAttr { target, readonly, propagation, recursive } => {
                let what = match *propagation {
                    libc::MS_PRIVATE => "private",
                    libc::MS_SLAVE => "slave",
                    libc::MS_SHARED => "shared",
                    _ if *readonly => "readonly",
                    _ => "nothing",
                };
                write!(f, "make {} {what}{}", s(target), if *recursive { " recursively" } else { "" })
            }
            Step::Node { path, block, major, minor, mode } => {
                write!(f, "mknod {} {} {major}:{minor} {mode:o}", s(path), if *block { 'b' } else { 'c' })
            }
            Step::Link { link, target } => write!(f, "link {} -> {}", s(link), s(target)),
            Step::Mask(p) => write!(f, "mask {}", s(p)),
            Step::Readonly(p) => write!(f, "make {} readonly", s(p)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Bind, Process, Rootfs};
    use expect_test::{Expect, expect};

    fn check(spec: &ContainerSpec, facts: &Facts, want: Expect) {
        let steps = plan(spec, facts).unwrap();
        want.assert_eq(&steps.iter().map(|s| format!("{s}\n")).collect::<String>());
    }

    fn facts() -> Facts {
        Facts { directories: vec![false, true], ..Default::default() }
    }

    #[test]
    fn a_container() {
        let spec = ContainerSpec {
            rootfs: Rootfs {
                layers: vec!["/l/low".into(), "/l/high".into()],
                upper: "/pods/a/upper".into(),
                work: "/pods/a/work".into(),
                mountpoint: "/pods/a/root".into(),
                readonly: true,
            },
            mounts: vec![
                Bind { source: "/h".into(), target: "/etc/hosts".into(), ..Default::default() },
                Bind {
                    source: "/d".into(),
                    target: "/data/x".into(),
                    readonly: true,
                    propagation: Propagation::HostToContainer,
                    ..Default::default()
                },
            ],
            devices: crate::devices::default_devices()[..1].to_vec(),
            masked_paths: vec!["/proc/keys".into()],
            readonly_paths: vec!["/proc/sys".into()],
            process: Process { tty: true, ..Default::default() },
            ..Default::default()
        };
        check(
            &spec,
            &facts(),
            expect![[r#"
                make mounts private
                open /pods/a/upper as 500
                open /pods/a/work as 501
                open /l/high as 502
                open /l/low as 503
                mount overlay on /pods/a/root (lowerdir=/proc/self/fd/502:/proc/self/fd/503,upperdir=/proc/self/fd/500,workdir=/proc/self/fd/501,volatile)
                pivot_root to /pods/a/root
                mkdir /proc
                mount proc on /proc (flags 0xe, "")
                mkdir /sys
                mount sysfs on /sys (flags 0xf, "")
                mkdir /dev
                mount tmpfs on /dev (flags 0x1000002, "mode=755,size=65536k")
                mkdir /dev
                mkdir /dev/pts
                mount devpts on /dev/pts (flags 0xa, "newinstance,ptmxmode=0666,mode=0620,gid=5")
                mkdir /dev
                mkdir /dev/mqueue
                mount mqueue on /dev/mqueue (flags 0xe, "")
                mkdir /dev
                mkdir /dev/shm
                mount tmpfs on /dev/shm (flags 0xe, "mode=1777,size=65536k")
                mknod /dev/null c 1:3 666
                link /dev/fd -> /proc/self/fd
                link /dev/stdin -> /proc/self/fd/0
                link /dev/stdout -> /proc/self/fd/1
                link /dev/stderr -> /proc/self/fd/2
                link /dev/ptmx -> pts/ptmx
                touch /dev/console
                mkdir /etc
                touch /etc/hosts
                bind source 0 on /etc/hosts
                make /etc/hosts private recursively
                mkdir /data
                mkdir /data/x
                bind source 1 on /data/x
                make /data/x slave recursively
                make /data/x readonly
                mask /proc/keys
                make /proc/sys readonly
                make / readonly
            "#]],
        );
    }

    #[test]
    fn bad_targets_are_named() {
        let spec = |target: &str| ContainerSpec {
            mounts: vec![Bind { target: target.into(), ..Default::default() }],
            ..Default::default()
        };
        for (target, want) in [
            ("relative", "mount path \"relative\" is not an absolute path below /"),
            ("/a\0b", "\"/a\\0b\" contains a NUL byte"),
        ] {
            assert_eq!(plan(&spec(target), &facts()).unwrap_err(), want);
        }
    }

    #[test]
    fn all_prefixes() {
        assert_eq!(prefixes("/a//b/c").collect::<Vec<_>>(), ["/a", "/a//b", "/a//b/c"]);
        assert_eq!(prefixes("/").count(), 0);
    }
}
