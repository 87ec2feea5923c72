//! `ferry up`: a control plane in this process, and nodes as isolated hosts on this machine.

mod demo;
mod nodes;

use crate::{
    Outcome,
    cli::Up,
    control_plane::{Claim, ControlPlane, Settings},
    layout::Layout,
    steps::{Steps, say},
};
use nodes::Nodes;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub async fn run(options: Up) -> Outcome {
    super::need_root("up", super::MAKES)?;
    let admission = options.admission.choice()?;
    crate::store::check(&options.store)?;
    let access = options.access.files();
    let keys = options.keys.keys();
    let mut steps = Steps::begin();
    let mut stop = super::Stop::listen()?;
    let layout = Layout::new(&options.data.data_dir).with_pki(options.store.pki_dir.clone());
    let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), options.api_port);
    let mut claim = Claim::take(&layout, local)?;
    telemetry::log::to_file(&layout.server_log(), "info")?;
    let nodes = Nodes::open(&layout)?;
    let gateway = nodes.gateway();
    steps.done(format!("network of nodes {}", nodes.network()));

    let advertise = SocketAddr::new(IpAddr::V4(gateway), options.api_port);
    claim.listen(advertise)?;
    let settings = Settings {
        claim,
        advertise,
        pods: nodes.pods(),
        admission,
        features: options.gates.features(),
        access,
        fronts: options.fronts,
        keys,
        store: options.store,
    };
    let plane = ControlPlane::start(&layout, settings).await?;
    steps.done(format!("API server at https://{local}"));
    let kubeconfig = super::write_kubeconfig(&layout, options.kubeconfig, &plane.kubeconfig()?)?;
    steps.done(format!("kubeconfig {}", kubeconfig.display()));

    let outcome = tokio::select! {
        // Once all runs, it is `serve` that hears of the end.
        biased;
        run = serve(&layout, &plane, nodes, options.nodes, options.demo, &mut steps) => run,
        () = stop.asked() => Ok(None),
    };
    let stopped = match outcome {
        Ok(Some(nodes)) => {
            say("stopping");
            nodes.stop(&plane.admin()).await
        }
        Ok(None) => Nodes::stop_started(&layout).await,
        Err(why) => {
            let _ = Nodes::stop_started(&layout).await;
            Err(why)
        }
    };
    plane.stop().await;
    stopped
}

/// Brings the nodes up and waits; the nodes come back when somebody asks to stop.
async fn serve(
    layout: &Layout,
    plane: &ControlPlane,
    mut nodes: Nodes,
    count: u16,
    demo: bool,
    steps: &mut Steps,
) -> Result<Option<Nodes>, String> {
    let image = demo::make_image(layout)?;
    steps.done(format!("image {image}"));
    nodes.start(plane, count).await?;
    steps.done(format!("{count} node{} started", if count == 1 { "" } else { "s" }));
    nodes.wait_ready(&plane.admin(), count).await?;
    steps.finish("ready");
    if demo {
        let address = demo::run(&plane.admin(), &nodes, layout).await?;
        steps.done(format!("demo answers at {address}"));
        say(format_args!("          curl {address}"));
    }
    let mut stop = super::Stop::listen()?;
    tokio::select! {
        () = stop.asked() => Ok(Some(nodes)),
        died = nodes.watch() => Err(died),
    }
}
