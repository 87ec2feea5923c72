//! `ferry server`: a control plane alone; nodes join it with `ferry agent`.

use crate::{
    Outcome,
    cli::Server,
    control_plane::{Claim, ControlPlane, Settings},
    join,
    layout::Layout,
    steps::{Steps, say},
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub async fn run(options: Server) -> Outcome {
    let admission = options.admission.choice()?;
    crate::store::check(&options.store)?;
    let access = options.access.files();
    let keys = options.keys.keys();
    let mut steps = Steps::begin();
    let mut stop = super::Stop::listen()?;
    let layout = Layout::new(&options.data.data_dir).with_pki(options.store.pki_dir.clone());
    let advertise = SocketAddr::new(options.advertise_address, options.api_port);
    let listen = match options.advertise_address.is_loopback() {
        true => advertise,
        false => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), options.api_port),
    };
    let claim = Claim::take(&layout, listen)?;
    telemetry::log::to_file(&layout.server_log(), "info")?;
    let settings = Settings {
        claim,
        advertise,
        pods: super::default_pods(),
        admission,
        features: options.gates.features(),
        access,
        fronts: options.fronts,
        keys,
        store: options.store,
    };
    let plane = ControlPlane::start(&layout, settings).await?;
    steps.done(format!("API server at https://{advertise}"));
    let path = super::write_kubeconfig(&layout, options.kubeconfig, &plane.kubeconfig()?)?;
    steps.done(format!("kubeconfig {}", path.display()));
    let token = join::make_token(&plane.admin(), base::clock::Clock::now(&base::clock::System)).await;
    let token = token.map_err(|e| e.to_string())?;
    steps.finish("ready; a machine becomes a node with");
    say(format_args!(
        "          ferry agent --server https://{advertise} --token {token} --ca-file {}",
        layout.ca().display()
    ));
    stop.asked().await;
    plane.stop().await;
    Ok(())
}
