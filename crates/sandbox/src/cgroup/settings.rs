//! Which value goes into which cgroup file: pure, so that hosts of every kind can be tested on any.

use super::Kind;
use crate::spec::{Device, Resources};

/// One write. An optional one may fail for want of the file (no swap accounting, an older kernel).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub file: String,
    pub value: String,
    pub optional: bool,
}

/// All writes for one hierarchy, in order.
pub fn writes(kind: &Kind, r: &Resources, devices: Option<&[Device]>) -> Vec<Write> {
    let mut out = Out(Vec::new());
    match kind {
        Kind::V1(_) => {
            v1(kind, r, &mut out);
            if let Some(devices) = devices.filter(|_| kind.has("devices") && !r.all_devices) {
                device_rules(devices, &mut out);
            }
        }
        Kind::V2(controllers) if !controllers.is_empty() => v2(kind, r, &mut out),
        _ => {}
    }
    out.0
}

struct Out(Vec<Write>);

impl Out {
    fn push(&mut self, file: &str, value: impl ToString, optional: bool) {
        self.0.push(Write { file: file.into(), value: value.to_string(), optional });
    }
}

fn v1(kind: &Kind, r: &Resources, out: &mut Out) {
    if kind.has("cpu") {
        if let Some(shares) = r.cpu_shares {
            out.push("cpu.shares", shares.max(2), false);
        }
        if let Some(period) = r.cpu_period {
            out.push("cpu.cfs_period_us", period, false);
        }
        if let Some(quota) = r.cpu_quota {
            out.push("cpu.cfs_quota_us", quota.max(-1), false);
        }
    }
    if kind.has("memory") {
        if let Some(limit) = r.memory {
            out.push("memory.limit_in_bytes", limit.max(-1), false);
        }
        if let Some(both) = r.memory_swap.or(r.memory) {
            out.push("memory.memsw.limit_in_bytes", both.max(-1), true);
        }
    }
    if kind.has("pids")
        && let Some(pids) = r.pids
    {
        out.push("pids.max", limit(pids), false);
    }
    cpuset(kind, r, out);
}

fn v2(kind: &Kind, r: &Resources, out: &mut Out) {
    if kind.has("cpu") {
        if let Some(shares) = r.cpu_shares {
            out.push("cpu.weight", weight(shares), false);
        }
        if r.cpu_quota.is_some() || r.cpu_period.is_some() {
            let quota = r.cpu_quota.filter(|q| *q > 0).map_or("max".to_string(), |q| q.to_string());
            out.push("cpu.max", format!("{quota} {}", r.cpu_period.unwrap_or(100_000)), false);
        }
    }
    if kind.has("memory")
        && let Some(memory) = r.memory
    {
        out.push("memory.max", limit(memory), false);
        let swap = match r.memory_swap {
            Some(both) if both >= memory => limit(both - memory),
            _ => "0".into(),
        };
        out.push("memory.swap.max", swap, true);
    }
    if kind.has("pids")
        && let Some(pids) = r.pids
    {
        out.push("pids.max", limit(pids), false);
    }
    cpuset(kind, r, out);
    for (file, value) in &r.unified {
        out.push(file, value, false);
    }
}

fn cpuset(kind: &Kind, r: &Resources, out: &mut Out) {
    if kind.has("cpuset") {
        for (file, value) in [("cpuset.cpus", &r.cpuset_cpus), ("cpuset.mems", &r.cpuset_mems)] {
            if !value.is_empty() {
                out.push(file, value, false);
            }
        }
    }
}

/// Everything forbidden, then: making any node, using the given ones, terminals.
fn device_rules(devices: &[Device], out: &mut Out) {
    out.push("devices.deny", "a", false);
    out.push("devices.allow", "c *:* m", false);
    out.push("devices.allow", "b *:* m", false);
    // /dev/console, /dev/ptmx, /dev/pts/*
    for rule in ["c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm"] {
        out.push("devices.allow", rule, false);
    }
    for d in devices {
        let kind = if d.block { 'b' } else { 'c' };
        out.push("devices.allow", format!("{kind} {}:{} {}", d.major, d.minor, d.access), false);
    }
}

fn limit(n: i64) -> String {
    if n < 0 { "max".into() } else { n.to_string() }
}

/// v1 shares (2 to 262144, usually 1024) as v2 weight (1 to 10000, usually 100), by the curve that runc and crun agreed
/// on so that all three usual points meet: 10^((log2(s)^2 + 125 log2(s)) / 612 - 7/34).
fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        s => {
            let l = (s as f64).log2();
            (10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0)).ceil() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn kinds() -> [Kind; 5] {
        let v1 = |c: &str| Kind::V1(c.split(',').map(String::from).collect());
        [v1("cpu,cpuacct"), v1("memory"), v1("pids"), v1("devices"), Kind::V2(vec![])]
    }

    fn check(kinds: &[Kind], r: &Resources, devices: Option<&[Device]>, want: Expect) {
        let text: String = kinds
            .iter()
            .flat_map(|k| writes(k, r, devices))
            .map(|w| format!("{}{} = {}\n", w.file, if w.optional { "?" } else { "" }, w.value))
            .collect();
        want.assert_eq(&text);
    }

    fn limits() -> Resources {
        Resources {
            cpu_shares: Some(512),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            memory: Some(1 << 20),
            pids: Some(-1),
            ..Default::default()
        }
    }

    #[test]
    fn v1_and_hybrid() {
        check(
            &kinds(),
            &limits(),
            None,
            expect![[r#"
                cpu.shares = 512
                cpu.cfs_period_us = 100000
                cpu.cfs_quota_us = 50000
                memory.limit_in_bytes = 1048576
                memory.memsw.limit_in_bytes? = 1048576
                pids.max = max
            "#]],
        );
    }

    #[test]
    fn v2() {
        let kind = Kind::V2(["cpu", "memory", "pids"].map(String::from).to_vec());
        let mut r = limits();
        r.unified = vec![("memory.oom.group".into(), "1".into())];
        check(
            &[kind],
            &r,
            None,
            expect![[r#"
                cpu.weight = 59
                cpu.max = 50000 100000
                memory.max = 1048576
                memory.swap.max? = 0
                pids.max = max
                memory.oom.group = 1
            "#]],
        );
    }

    #[test]
    fn devices() {
        check(
            &kinds(),
            &Resources::default(),
            Some(&crate::devices::default_devices()[..1]),
            expect![[r#"
                devices.deny = a
                devices.allow = c *:* m
                devices.allow = b *:* m
                devices.allow = c 5:1 rwm
                devices.allow = c 5:2 rwm
                devices.allow = c 136:* rwm
                devices.allow = c 1:3 rwm
            "#]],
        );
        check(&kinds(), &Resources { all_devices: true, ..Default::default() }, Some(&[]), expect![""]);
    }

    #[test]
    fn weights() {
        let points = [(2, 1), (1024, 100), (262_144, 10_000)];
        for (shares, want) in points {
            assert_eq!(weight(shares), want, "{shares}");
        }
    }
}
