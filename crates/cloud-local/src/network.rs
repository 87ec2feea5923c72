//! The cluster's network on the host: a bridge with the host's address, a route to what pods have, and the way out.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use netlink::error::allow_exists;
use netlink::nft::{Batch, Chain, ChainType, CmpOp, Expr, Family, Hook, MetaKey, Nft, Reg, Table};
use netlink::{Cidr, LinkChange, Mac, Route, sysctl};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, io_at, kernel};
use crate::ranges::Ranges;
use crate::{Config, bridge_name};

const IP_FORWARD: &str = "net/ipv4/ip_forward";

/// The network of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) range: Cidr,
    pub(crate) gateway: Ipv4Addr,
}

/// What is kept about it.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    node_network: String,
}

/// Makes the network or finds it.
pub(crate) fn open(config: &Config, tag: &str) -> Result<Network> {
    let mut route = Route::open().map_err(kernel("host"))?;
    // Held until the bridge is there: by it others see that this cluster runs.
    let ranges = Ranges::lock(&config.host_state, &config.dir)?;
    let range = range(config, &ranges, &mut route)?;
    let (Some(IpAddr::V4(gateway)), true) = (range.nth(1), range.prefix <= 29) else {
        let reason = "a node network is an IPv4 prefix of at most 29 bits".into();
        return Err(Error::Invalid { object: range.to_string(), reason });
    };
    let name = bridge_name(tag);
    let mut bridge = || -> netlink::Result<()> {
        let mac = mac(gateway);
        allow_exists(route.add_bridge(&name, Some(mac)))?;
        route.set_link(&name, LinkChange { mac: Some(mac), up: Some(true), ..LinkChange::default() })?;
        route.add_address(&name, Cidr { address: gateway.into(), prefix: range.prefix })
    };
    bridge().map_err(kernel(format!("bridge {name}")))?;
    drop(ranges);
    if config.forward {
        remember_and_set_forwarding(&config.host_state)?;
        let mut nft = Nft::open().map_err(kernel("nftables"))?;
        nft.commit(masquerade(tag, range, &name)).map_err(kernel(table(tag)))?;
    }
    Ok(Network { range, gateway })
}

/// The table of a cluster on the host.
pub(crate) fn table(tag: &str) -> Table {
    Table::new(Family::Ip, format!("ferry-{tag}"))
}

/// A hardware address that follows from the address.
pub(crate) fn mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([0x0a, 0x59, a, b, c, d])
}

/// Puts `ip_forward` back as it was before the first cluster of this host, if no other cluster is left.
pub(crate) fn restore_forwarding(host_state: &Path, route: &mut Route) -> Result<()> {
    let others = route.links().map_err(kernel("host"))?;
    if others.iter().any(|link| link.kind.as_deref() == Some("bridge") && is_bridge_name(&link.name)) {
        return Ok(());
    }
    let path = former_path(host_state);
    match fs::read_to_string(&path) {
        Ok(former) => {
            sysctl::write(IP_FORWARD, former.trim()).map_err(kernel("host"))?;
            fs::remove_file(&path).map_err(io_at(&path))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_at(&path)(error)),
    }
}

fn is_bridge_name(name: &str) -> bool {
    name.strip_prefix("ferry").is_some_and(|tag| tag.len() == 5 && tag.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn former_path(host_state: &Path) -> PathBuf {
    host_state.join("ip_forward")
}

/// The former value is on disk before the setting changes, and the first one counts.
fn remember_and_set_forwarding(host_state: &Path) -> Result<()> {
    let former = sysctl::read(IP_FORWARD).map_err(kernel("host"))?.unwrap_or_default();
    if former == "1" {
        return Ok(());
    }
    let path = former_path(host_state);
    fs::create_dir_all(host_state).map_err(io_at(host_state))?;
    if !path.exists() {
        fs::write(&path, former).map_err(io_at(&path))?;
    }
    sysctl::write(IP_FORWARD, "1").map_err(kernel("host"))
}

/// The range that was kept, or asked for, or the first of 172.30.0.0/24, 172.30.1.0/24, … that is free here.
fn range(config: &Config, ranges: &Ranges, route: &mut Route) -> Result<Cidr> {
    let path = config.dir.join("network.json");
    let kept = match fs::read(&path) {
        Ok(bytes) => {
            let kept: Kept = serde_json::from_slice(&bytes).map_err(|e| io_at(&path)(std::io::Error::from(e)))?;
            Some(kept.node_network.parse::<Cidr>().map_err(kernel(path.display()))?)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(io_at(&path)(error)),
    };
    match (kept, config.node_network.map(Cidr::network)) {
        (Some(kept), wanted) if wanted.is_none_or(|wanted| wanted == kept) => {
            ranges.claim(kept, route)?;
            return Ok(kept);
        }
        (Some(kept), wanted) => {
            let reason = format!("the machines of this directory have the network {kept}; delete them to change it");
            return Err(Error::Invalid { object: wanted.unwrap_or(kept).to_string(), reason });
        }
        (None, _) => {}
    }
    let usual = (0..=255).map(|n| Cidr { address: Ipv4Addr::new(172, 30, n, 0).into(), prefix: 24 });
    let candidates: Vec<Cidr> = match config.node_network {
        Some(wanted) => vec![wanted.network()],
        None => usual.collect(),
    };
    let chosen = ranges.choose(&candidates, route)?.ok_or_else(|| Error::Invalid {
        object: config.node_network.map_or_else(|| "172.30.0.0/16".into(), |wanted| wanted.to_string()),
        reason: "collides with a route of this host; choose another node network".into(),
    })?;
    ranges.claim(chosen, route)?;
    let kept = serde_json::to_vec(&Kept { node_network: chosen.to_string() });
    let kept = kept.map_err(|e| io_at(&path)(std::io::Error::from(e)))?;
    crate::machine::write_atomically(&path, &kept)?;
    Ok(chosen)
}

/// What leaves the node network by any other link carries the host's address.
fn masquerade(tag: &str, range: Cidr, bridge: &str) -> Batch {
    let (t, mut batch) = (table(tag), Batch::new());
    batch.replace_table(&t);
    batch.add_chain(&t, &Chain::base("postrouting", ChainType::Nat, Hook::Postrouting, 100));
    let (IpAddr::V4(network), Some(mask)) = (range.address, range.netmask()) else { return batch };
    let mut name = bridge.as_bytes().to_vec();
    name.resize(16, 0);
    let rule = [
        Expr::ipv4_source(Reg(0)),
        Expr::Bitwise { from: Reg(0), to: Reg(0), mask: mask.octets().to_vec(), xor: vec![0; 4] },
        Expr::Cmp { from: Reg(0), op: CmpOp::Eq, value: network.octets().to_vec() },
        Expr::Meta { key: MetaKey::OifName, to: Reg(4) },
        Expr::Cmp { from: Reg(4), op: CmpOp::Ne, value: name },
        Expr::Masquerade,
    ];
    batch.add_rule(&t, "postrouting", "machines to the outside", &rule);
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bridges_are_told_by_name() {
        for (name, ours) in [("ferry01abc", true), ("ferry-pods", false), ("ferry0", false), ("ferry01abc-2", false)] {
            assert_eq!(is_bridge_name(name), ours, "{name}");
        }
    }
}
