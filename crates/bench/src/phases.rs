//! The phases against an API server: create, patch, get, list, watch. Each has a namespace of its own.

use crate::{
    ceiling,
    connection::{Call, Connection},
    figures::Figures,
    load::{self, Bounds, Outcome},
    objects,
    options::{Options, Phase},
    process::{self, Cpu},
    target::Target,
    watchers,
};
use http::Method;
use std::{
    sync::{PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Bytes of a pod as it is sent.
const POD: usize = 4500;
/// Bytes of a pod of the list as it is answered, so that 5,000 are 20 MB.
const LISTED: usize = 4000;
/// Bytes of a ConfigMap.
const MAP: usize = 1500;
/// ConfigMaps written one by one to see how late a watcher hears of one, and how many in a second.
const PACED: u64 = 60;
const PACE: u64 = 20;

/// One run of the phases.
struct Run<'a> {
    options: &'a Options,
    target: &'a Target,
    pid: Option<u32>,
    /// Part of every namespace's name, so that runs against one server do not meet.
    id: String,
    control: Connection,
}

pub async fn measure(
    options: &Options,
    target: &Target,
    pid: Option<u32>,
    figures: &mut Figures,
) -> Result<(), String> {
    let control = Connection::open(target).await?;
    let mut run = Run { options, target, pid, id: base::ids::suffix(5), control };
    if options.wants(Phase::Create) {
        figures.add_load("create", "/s", run.create().await?);
    }
    if options.wants(Phase::Patch) {
        figures.add_load("patch", "/s", run.patch().await?);
    }
    if options.wants(Phase::Get) {
        figures.add_load("get", "/s", run.get().await?);
    }
    if options.wants(Phase::List) {
        let lists = run.list().await?;
        figures.add("list-size", lists.bytes as f64 / lists.count as f64 / 1e6, "MB");
        figures.add("list", lists.p50, "ms");
    }
    if options.wants(Phase::Watch) {
        figures.add_load("watch", "events/s", run.watch().await?);
        let late = run.watch_paced().await?;
        figures.add("watch-late-p50", late.p50, "ms");
        figures.add("watch-late-p99", late.p99, "ms");
    }
    if let Some(mb) = pid.and_then(process::rss_mb) {
        figures.add("rss-loaded", mb, "MB");
    }
    Ok(())
}

impl Run<'_> {
    fn bounds(&self) -> Bounds {
        Bounds { requests: self.options.requests, time: self.options.time() }
    }

    async fn handles(&self) -> Result<Vec<Connection>, String> {
        load::handles(self.target, self.options).await
    }

    /// A namespace with its ServiceAccount, which pods ask for; its name.
    async fn namespace(&mut self, phase: &str) -> Result<String, String> {
        let name = format!("bench-{phase}-{}", self.id);
        self.control.make("/api/v1/namespaces", objects::named("Namespace", &name)).await?;
        // The control plane makes it too, if it is faster.
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts");
        self.control.make(&account, objects::named("ServiceAccount", "default")).await?;
        Ok(name)
    }

    /// Removes what a phase made, as far as the server lets us.
    async fn clean(&mut self, namespace: &str, what: &str) -> Result<(), String> {
        self.control.exchange(&Call::delete(format!("/api/v1/namespaces/{namespace}/{what}"))).await?;
        self.control.exchange(&Call::delete(format!("/api/v1/namespaces/{namespace}"))).await?;
        Ok(())
    }

    /// `count` pods of a size, by all clients.
    async fn fill(&mut self, namespace: &str, count: u64, size: usize) -> Result<Outcome, String> {
        let bounds = Bounds { requests: count, time: Duration::from_secs(300) };
        load::run(self.handles().await?, bounds, self.pid, creates(namespace, size)).await
    }

    async fn create(&mut self) -> Result<Outcome, String> {
        let namespace = self.namespace("create").await?;
        let outcome = load::run(self.handles().await?, self.bounds(), self.pid, creates(&namespace, POD)).await?;
        self.clean(&namespace, "pods").await?;
        Ok(outcome)
    }

    /// Every client patches a pod of its own.
    async fn patch(&mut self) -> Result<Outcome, String> {
        let namespace = self.namespace("patch").await?;
        self.fill(&namespace, self.options.clients as u64, POD).await?;
        let of = namespace.clone();
        let patch = move |client: usize, n| Call {
            method: Method::PATCH,
            path: format!("/api/v1/namespaces/{of}/pods/pod-{client:07}"),
            content_type: "application/strategic-merge-patch+json",
            body: objects::pod_patch(n).into(),
        };
        let outcome = load::run(self.handles().await?, self.bounds(), self.pid, patch).await?;
        self.clean(&namespace, "pods").await?;
        Ok(outcome)
    }

    async fn get(&mut self) -> Result<Outcome, String> {
        const PODS: u64 = 1000;
        let namespace = self.namespace("get").await?;
        self.fill(&namespace, PODS, POD).await?;
        let of = namespace.clone();
        // A prime step: neighbours in time are not neighbours in the cache.
        let get = move |_, n: u64| Call::get(format!("/api/v1/namespaces/{of}/pods/pod-{:07}", n * 389 % PODS));
        let outcome = load::run(self.handles().await?, self.bounds(), self.pid, get).await?;
        self.clean(&namespace, "pods").await?;
        Ok(outcome)
    }

    async fn list(&mut self) -> Result<Outcome, String> {
        let namespace = self.namespace("list").await?;
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        // What the server adds to a pod is the same for each of them.
        let sample = self.control.make(&path, objects::pod("sample-0000", LISTED)).await?;
        let size = (2 * LISTED).saturating_sub(sample.len());
        self.control.exchange(&Call::delete(format!("{path}/sample-0000"))).await?;
        self.fill(&namespace, self.options.pods, size).await?;
        let lists = ceiling::lists(self.target, &Call::get(path), self.pid).await?;
        self.clean(&namespace, "pods").await?;
        Ok(lists)
    }

    /// ConfigMaps written by eight clients under all watchers; from the first write to the last delivery.
    async fn watch(&mut self) -> Result<Outcome, String> {
        let namespace = self.namespace("watch").await?;
        let watchers = self.watchers(&namespace, self.options.events).await?;
        let base = watchers.delivered.load(Relaxed);
        let want = self.options.events * self.options.watchers as u64;
        let mut handles = self.handles().await?;
        handles.truncate(8);
        let of = namespace.clone();
        let write = move |_, n| {
            let body = objects::config_map(&format!("map-{n:07}"), MAP);
            Call::post(format!("/api/v1/namespaces/{of}/configmaps"), body)
        };
        let bounds = Bounds { requests: self.options.events, time: Duration::from_secs(60) };
        let (cpu, began) = (Cpu::start(self.pid), Instant::now());
        load::run(handles, bounds, None, write).await?;
        let got = || watchers.delivered.load(Relaxed) - base;
        if !process::wait_until(Duration::from_secs(60), || got() >= want).await {
            return Err(format!("only {} of {want} events came", got()));
        }
        let seconds = began.elapsed().as_secs_f64();
        let (client_cpu, server_cpu) = cpu.spent();
        drop(watchers);
        self.clean(&namespace, "configmaps").await?;
        Ok(Outcome { count: want, seconds, client_cpu, server_cpu, bytes: want * MAP as u64, ..Outcome::default() })
    }

    /// How late watchers hear of a write, with time between the writes.
    async fn watch_paced(&mut self) -> Result<Outcome, String> {
        let namespace = self.namespace("paced").await?;
        let watchers = self.watchers(&namespace, PACED).await?;
        let cpu = Cpu::start(self.pid);
        let began = Instant::now();
        for n in 0..PACED {
            let body = objects::config_map(&format!("map-{n:07}"), MAP);
            let _ = watchers.written[n as usize].set(Instant::now());
            self.control.make(&format!("/api/v1/namespaces/{namespace}/configmaps"), body).await?;
            tokio::time::sleep_until((began + Duration::from_millis(n * 1000 / PACE)).into()).await;
        }
        let want = PACED * self.options.watchers as u64;
        let taken = || watchers.latencies.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
        if !process::wait_until(Duration::from_secs(30), || taken() >= want).await {
            return Err(format!("only {} of {want} events were timed", taken()));
        }
        let took = std::mem::take(&mut *watchers.latencies.lock().unwrap_or_else(PoisonError::into_inner));
        let outcome = load::outcome(took, began.elapsed().as_secs_f64(), 0, cpu);
        drop(watchers);
        self.clean(&namespace, "configmaps").await?;
        Ok(outcome)
    }

    /// Watchers of the namespace's ConfigMaps from now on.
    async fn watchers(&mut self, namespace: &str, events: u64) -> Result<watchers::Watchers, String> {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        // The control plane may publish its root certificate here at any moment; that event must not be counted.
        let root = format!("{path}/kube-root-ca.crt");
        for _ in 0..100 {
            if self.control.fetch(&Call::get(root.as_str())).await?.0.is_success() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (_, list) = self.control.fetch(&Call::get(format!("{path}?limit=1"))).await?;
        let list: serde_json::Value = serde_json::from_slice(&list).map_err(|e| format!("{path}: {e}"))?;
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or("0");
        let call = Call::get(format!("{path}?watch=1&resourceVersion={revision}"));
        watchers::start(self.target, self.options, &call, events).await
    }
}

/// The n-th pod of a namespace.
pub fn creates(namespace: &str, size: usize) -> impl Fn(usize, u64) -> Call + Send + Sync + 'static {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    // Names are of one length, so the body is a template with the name put in.
    const NAME: &str = "pod-0000000";
    let body = objects::pod(NAME, size);
    let at = body.windows(NAME.len()).position(|w| w == NAME.as_bytes()).unwrap_or(0);
    move |_, n| {
        let mut body = body.clone();
        body[at..at + NAME.len()].copy_from_slice(format!("pod-{n:07}").as_bytes());
        Call::post(path.as_str(), body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pod_has_its_own_name() {
        let make = creates("ns", POD);
        for n in [0, 7, 1_234_567] {
            let call = make(0, n);
            let pod: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
            assert_eq!(pod["metadata"]["name"], format!("pod-{n:07}"));
            assert_eq!(call.body.len(), POD);
        }
    }
}
