//! Services and endpoints to a zone. Pure.

use crate::input::{Endpoint, EndpointSlice, Kind, Service};
use crate::zone::{Entry, Srv, Zone};
use std::collections::HashMap;
use std::net::IpAddr;

/// The zone of everything there is.
pub fn plan(domain: &str, services: &[Service], slices: &[EndpointSlice]) -> Zone {
    let mut by_service: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
    for slice in slices {
        by_service.entry((&slice.namespace, &slice.service)).or_default().push(slice);
    }
    let mut zone = Zone::new(domain);
    for service in services {
        let own = by_service.get(&(service.namespace.as_str(), service.name.as_str()));
        let entry = plan_service(service, own.map_or(&[][..], |own| own.as_slice()));
        zone.set(&service.namespace, &service.name, Some(entry));
    }
    zone
}

/// The names of one service; `slices` are its own.
pub fn plan_service(service: &Service, slices: &[&EndpointSlice]) -> Entry {
    let named = |protocol: &str, port: &str, number, host: Option<&String>| {
        let srv = |port: &str| Srv { port: port.into(), protocol: protocol.into(), number, host: host.cloned() };
        (!port.is_empty()).then(|| srv(port))
    };
    match &service.kind {
        Kind::ExternalName(name) => {
            let alias = Some(name.trim_end_matches('.').to_lowercase()).filter(|name| !name.is_empty());
            Entry { alias, ..Entry::default() }
        }
        Kind::ClusterIp(addresses) => {
            let srv = service.ports.iter().filter_map(|port| named(&port.protocol, &port.name, port.number, None));
            Entry { addresses: addresses.clone(), srv: srv.collect(), ..Entry::default() }
        }
        Kind::Headless => {
            let mut entry = Entry { headless: true, ..Entry::default() };
            for slice in slices {
                for endpoint in slice.endpoints.iter().filter(|e| e.ready || service.publish_not_ready) {
                    for address in &endpoint.addresses {
                        let host = host_of(endpoint, *address);
                        entry.addresses.push(*address);
                        for port in &slice.ports {
                            entry.srv.extend(named(&port.protocol, &port.name, port.number, Some(&host)));
                        }
                        entry.hosts.entry(host).or_default().push(*address);
                    }
                }
            }
            // An endpoint may stand in two slices while it moves.
            entry.addresses.sort();
            entry.addresses.dedup();
            entry.srv.sort();
            entry.srv.dedup();
            for addresses in entry.hosts.values_mut() {
                addresses.sort();
                addresses.dedup();
            }
            entry
        }
    }
}

/// An endpoint's first label: its hostname, or its address with dashes.
fn host_of(endpoint: &Endpoint, address: IpAddr) -> String {
    endpoint.hostname.as_ref().map_or_else(|| address.to_string().replace(['.', ':'], "-"), |name| name.to_lowercase())
}
