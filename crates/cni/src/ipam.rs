//! Addresses of a node's range, and the record of who has them: one file per attachment, written and synced before the
//! kernel hears of the address. The directory is the truth; what is in memory is read from it at the start.
//!
//! Decided against: one file for all (a rewrite per pod, and one torn write loses everyone), and a file per address as CNI's
//! host-local has it (a second place that says who owns which port).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use netlink::Cidr;
use serde::{Deserialize, Serialize};

use crate::{Attachment, Error, Pod, PortMapping, Result};

/// What is known about an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) attachment: Attachment,
    pub(crate) pod: Pod,
    pub(crate) address: Ipv4Addr,
    pub(crate) ports: Vec<PortMapping>,
}

/// The attachments of a node.
pub(crate) struct Records {
    directory: PathBuf,
    range: Cidr,
    records: BTreeMap<Attachment, Record>,
    /// Where the search for a free address goes on: an address rests as long as possible after use.
    last: u32,
}

impl Records {
    /// Reads the directory, which is made if absent. A file that cannot be read as a record is an error: to forget it would
    /// hand out its address again.
    pub(crate) fn open(directory: &Path, range: Cidr) -> Result<Records> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| Error::State { path, source }
        };
        fs::create_dir_all(directory).map_err(failed(directory))?;
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(failed(directory))? {
            let path = entry.map_err(failed(directory))?.path();
            if path.extension().is_some_and(|e| e == "tmp") {
                // Never renamed, so never promised to anyone.
                fs::remove_file(&path).map_err(failed(&path))?;
                continue;
            }
            let bytes = fs::read(&path).map_err(failed(&path))?;
            let record: Record = serde_json::from_slice(&bytes).map_err(|e| failed(&path)(e.into()))?;
            records.insert(record.attachment.clone(), record);
        }
        let last = records.values().map(|r| u32::from(r.address)).max().unwrap_or(0);
        Ok(Records { directory: directory.to_path_buf(), range, records, last })
    }

    pub(crate) fn get(&self, attachment: &Attachment) -> Option<&Record> {
        self.records.get(attachment)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Gives the attachment an address (its own, if it has one) and puts that on disk. The flag says whether it is new.
    pub(crate) fn reserve(
        &mut self,
        attachment: &Attachment,
        pod: &Pod,
        ports: &[PortMapping],
    ) -> Result<(Record, bool)> {
        if let Some(record) = self.records.get(attachment) {
            return Ok((record.clone(), false));
        }
        for wanted in ports {
            if let Some(other) = self.records.values().find(|r| r.ports.iter().any(|p| collide(p, wanted))) {
                let by = format!("{}/{}", other.pod.namespace, other.pod.name);
                return Err(Error::PortInUse { protocol: wanted.protocol, port: wanted.host_port, by });
            }
        }
        let address = self.free().ok_or_else(|| Error::NoAddress { range: self.range.to_string() })?;
        let record = Record { attachment: attachment.clone(), pod: pod.clone(), address, ports: ports.to_vec() };
        self.write(&record)?;
        self.last = address.into();
        self.records.insert(attachment.clone(), record.clone());
        Ok((record, true))
    }

    /// Forgets the attachment, on disk too.
    pub(crate) fn release(&mut self, attachment: &Attachment) -> Result<()> {
        let path = self.path(attachment);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(Error::State { path, source }),
            _ => {}
        }
        self.records.remove(attachment);
        Ok(())
    }

    /// The next address after the last one given that nobody has. Network, gateway (the first) and broadcast are no pod's.
    fn free(&self) -> Option<Ipv4Addr> {
        let IpAddr::V4(network) = self.range.network().address else { return None };
        let (network, size) = (u64::from(u32::from(network)), 1u64 << (32 - self.range.prefix));
        let (first, count) = (network + 2, size.checked_sub(3).filter(|n| *n > 0)?);
        let taken: std::collections::BTreeSet<Ipv4Addr> = self.records.values().map(|r| r.address).collect();
        let start = (u64::from(self.last) + 1).saturating_sub(first);
        (0..count)
            .map(|i| Ipv4Addr::from((first + (start + i) % count) as u32))
            .find(|address| !taken.contains(address))
    }

    fn write(&self, record: &Record) -> Result<()> {
        let path = self.path(&record.attachment);
        let temporary = path.with_extension("tmp");
        let written = (|| {
            let mut file = File::create(&temporary)?;
            file.write_all(&serde_json::to_vec(record)?)?;
            file.sync_data()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.directory)?.sync_all()
        })();
        written.map_err(|source| Error::State { path, source })
    }

    fn path(&self, attachment: &Attachment) -> PathBuf {
        self.directory.join(format!("{}:{}.json", attachment.container_id, attachment.ifname))
    }
}

fn collide(a: &PortMapping, b: &PortMapping) -> bool {
    let any = |p: &PortMapping| p.host_ip.is_none_or(|ip| ip.is_unspecified());
    (a.protocol, a.host_port) == (b.protocol, b.host_port) && (any(a) || any(b) || a.host_ip == b.host_ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("ferry-ipam-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Directory(path)
        }

        fn open(&self, range: &str) -> Records {
            Records::open(&self.0, range.parse().expect(range)).expect("open")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn take(records: &mut Records, id: &str, ports: &[PortMapping]) -> Result<String> {
        let attachment = Attachment { container_id: id.into(), ifname: "eth0".into() };
        let pod = Pod { namespace: "default".into(), name: id.into(), uid: id.into() };
        records.reserve(&attachment, &pod, ports).map(|(record, _)| record.address.to_string())
    }

    fn port(host_port: u16, host_ip: Option<&str>) -> PortMapping {
        let host_ip = host_ip.map(|ip| ip.parse().expect(ip));
        PortMapping { protocol: Protocol::Tcp, host_port, container_port: 80, host_ip }
    }

    fn free(records: &mut Records, id: &str) {
        records.release(&Attachment { container_id: id.into(), ifname: "eth0".into() }).expect("release");
    }

    #[test]
    fn addresses_go_round_and_skip_those_in_use() {
        let directory = Directory::new("round");
        let mut records = directory.open("10.1.0.0/29");
        let taken: Vec<_> = "abcde".chars().map(|c| take(&mut records, &c.to_string(), &[]).expect("free")).collect();
        assert_eq!(taken, ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]);
        let full = take(&mut records, "f", &[]).expect_err("full").to_string();
        assert_eq!(full, "no address left in the pod range 10.1.0.0/29");
        free(&mut records, "b");
        free(&mut records, "d");
        assert_eq!(take(&mut records, "g", &[]).expect("free"), "10.1.0.3");
        assert_eq!(take(&mut records, "h", &[]).expect("free"), "10.1.0.5");
        assert_eq!(take(&mut records, "g", &[]).expect("its own"), "10.1.0.3");
    }

    #[test]
    fn an_address_rests_after_use() {
        let directory = Directory::new("rest");
        let mut records = directory.open("10.1.0.0/24");
        assert_eq!(take(&mut records, "a", &[]).expect("free"), "10.1.0.2");
        free(&mut records, "a");
        assert_eq!(take(&mut records, "b", &[]).expect("free"), "10.1.0.3");
    }

    #[test]
    fn records_survive_and_torn_writes_are_forgotten() {
        let directory = Directory::new("survive");
        take(&mut directory.open("10.1.0.0/24"), "a", &[port(80, None)]).expect("free");
        fs::write(directory.0.join("b:eth0.tmp"), "{\"atta").expect("write");
        let mut records = directory.open("10.1.0.0/24");
        assert_eq!(records.all().count(), 1);
        assert_eq!(take(&mut records, "a", &[]).expect("its own"), "10.1.0.2");
        assert_eq!(take(&mut records, "b", &[]).expect("free"), "10.1.0.3");
        assert!(!directory.0.join("b:eth0.tmp").exists());
    }

    #[test]
    fn a_corrupt_record_is_named_and_kept() {
        let directory = Directory::new("corrupt");
        fs::create_dir_all(&directory.0).expect("mkdir");
        let path = directory.0.join("a:eth0.json");
        fs::write(&path, "{").expect("write");
        let error = Records::open(&directory.0, "10.1.0.0/24".parse().expect("cidr")).err().expect("corrupt");
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        assert!(path.exists());
    }

    #[test]
    fn host_ports_collide_by_address() {
        let directory = Directory::new("ports");
        let mut records = directory.open("10.1.0.0/24");
        take(&mut records, "a", &[port(80, Some("10.0.0.1"))]).expect("free");
        take(&mut records, "b", &[port(80, Some("10.0.0.2"))]).expect("another address");
        take(&mut records, "c", &[port(81, None)]).expect("another port");
        let error = take(&mut records, "d", &[port(80, None)]).expect_err("every address").to_string();
        assert_eq!(error, "host port 80/Tcp is in use by pod default/a");
        take(&mut records, "e", &[port(81, Some("10.0.0.3"))]).expect_err("c has it on every address");
        take(&mut records, "e", &[PortMapping { protocol: Protocol::Udp, ..port(81, None) }])
            .expect("another protocol");
    }
}
