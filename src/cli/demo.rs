//! `demo`: broker, database file, simulated wearables and web page in one process. Everything
//! goes through real MQTT and a real database, as in the service.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use color_eyre::eyre::{WrapErr, eyre};
use ecg::simulate::{Ectopy, Rhythm, Scenario};
use ecg::{BootId, DeviceId, Lead, SampleRate};
use ingest::mqtt::{Protocol, Publisher, PublisherConfig};
use store::{PatientId, Store};
use tokio_util::sync::CancellationToken;

use super::service::failure;
use super::{DemoArgs, Failure, answer, block_on, on_signal, start_logging};
use crate::app::{self, App};
use crate::config::Config;
use crate::wall;
use crate::wearable::Simulated;

/// Runs the demo until a signal ends it.
pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    // The embedded broker calls every goodbye of a client an error.
    start_logging("warn,rumqttd=off");
    std::fs::create_dir_all(&args.data)
        .wrap_err_with(|| format!("cannot create the data directory {}", args.data.display()))
        .map_err(Failure::Usage)?;
    let broker = start_broker()?;
    let overrides = [
        ("mqtt.url", format!("mqtt://{broker}")),
        ("mqtt.protocol", "3.1.1".to_owned()),
        // The embedded broker forgets with the process, so nothing would ever be sent again; and it
        // sends at most 100 unacknowledged messages ahead.
        ("pipeline.warm_up", "false".to_owned()),
        (
            "store.url",
            format!("sqlite:{}", args.data.join("einthoven.db").display()),
        ),
        (
            "http.listen",
            SocketAddr::new(args.bind, args.port).to_string(),
        ),
    ];
    let config = Config::load(None, std::env::vars(), &overrides).map_err(Failure::usage)?;
    block_on(async move {
        let shutdown = on_signal().map_err(color_eyre::Report::from)?;
        let wearables = wearables(args.seed).map_err(Failure::usage)?;
        let store = config.store.clone();
        let app = App::build(config, shutdown.clone())
            .await
            .map_err(explain)?;
        dress(&store, &wearables).await.map_err(Failure::Failed)?;
        answer(format_args!(
            "einthoven demo: http://{}  (Ctrl-C ends it; not a medical device)\n",
            app.address()
        ))?;
        for (name, scenario, leads) in wearables {
            let device: DeviceId = name.parse().map_err(Failure::usage)?;
            let url = format!("mqtt://{broker}");
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                if let Err(error) = wear(&url, device, &scenario, &leads, shutdown).await {
                    tracing::error!(%error, name, "simulated wearable stopped");
                }
            });
        }
        app.run().await.map_err(failure)
    })
}

/// An occupied port is the likeliest mishap of a first run: say what to do.
fn explain(error: app::Error) -> Failure {
    match &error {
        app::Error::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
            Failure::Usage(eyre!(
                "{error}; `--port 0` takes a free port, `--port N` another one"
            ))
        }
        _ => failure(error),
    }
}

type Wearable = (&'static str, Scenario, Vec<Lead>);

/// The patients of the demo.
fn wearables(seed: u64) -> Result<Vec<Wearable>, ecg::Error> {
    let rate = SampleRate::new(250.0)?;
    let chest = || vec![Lead::II, Lead::V1, Lead::V5];
    let scenario = |k: u64, rhythms: Vec<(Rhythm, f64)>| Scenario {
        rhythms,
        repeat: true,
        ..Scenario::new(seed.wrapping_mul(1000).wrapping_add(k), rate)
    };
    let sinus = |bpm| Rhythm::Sinus { bpm };
    let ectopy = Rhythm::Ectopic {
        bpm: 74.0,
        pattern: Ectopy::Single { per_minute: 8.0 },
    };
    let pulse = Scenario {
        ppg_rate: Some(SampleRate::new(100.0)?),
        acceleration_rate: Some(SampleRate::new(50.0)?),
        ..scenario(5, vec![(sinus(76.0), 3600.0)])
    };
    Ok(vec![
        (
            "demo-sinus",
            scenario(1, vec![(sinus(68.0), 3600.0)]),
            chest(),
        ),
        (
            "demo-af",
            scenario(2, vec![(Rhythm::AtrialFibrillation { bpm: 92.0 }, 3600.0)]),
            chest(),
        ),
        (
            "demo-asystole",
            scenario(
                3,
                vec![
                    (sinus(62.0), 15.0),
                    (Rhythm::Asystole, 9.0),
                    (sinus(70.0), 96.0),
                ],
            ),
            chest(),
        ),
        (
            "demo-ectopy",
            scenario(4, vec![(ectopy, 3600.0)]),
            vec![Lead::I, Lead::II, Lead::V1, Lead::V5],
        ),
        ("demo-ppg", pulse, Vec::new()),
    ])
}

/// Says who wears what, so that limits can be set: they belong to patients.
async fn dress(config: &store::Config, wearables: &[Wearable]) -> color_eyre::Result<()> {
    let store = Store::open(config).await?;
    store.migrate().await?;
    for (name, ..) in wearables {
        let device: DeviceId = name.parse()?;
        let patient: PatientId = name.replace("demo", "patient").parse()?;
        store
            .assign(&device, Some(&patient), "demo", wall::utc())
            .await?;
    }
    store.close().await;
    Ok(())
}

/// One wearable: a packet each second, for as long as the demo runs.
async fn wear(
    url: &str,
    device: DeviceId,
    scenario: &Scenario,
    leads: &[Lead],
    shutdown: CancellationToken,
) -> color_eyre::Result<()> {
    let config = PublisherConfig {
        protocol: Protocol::V311,
        ..PublisherConfig::new(url)
    };
    let mut publisher = Publisher::connect(config, &device).await?;
    let boot = BootId(rand::random());
    let mut simulated = Simulated::new(scenario, leads, boot, wall::utc())
        .map_err(|error| eyre!("{device}: {error}"))?;
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    // A second can be sent when it is over.
    seconds.tick().await;
    loop {
        tokio::select! {
            _ = seconds.tick() => publisher.publish(simulated.second()?.encode()).await?,
            () = shutdown.cancelled() => break,
        }
    }
    publisher.close().await?;
    Ok(())
}

/// Starts the embedded broker on a free port of the loopback interface.
fn start_broker() -> Result<SocketAddr, Failure> {
    // The broker takes no listener, so a free port is found and given to it.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.wrap_err("no free port on the loopback interface")?;
    let config = format!(
        r#"
        id = 0
        [router]
        id = 0
        max_connections = 64
        max_outgoing_packet_count = 65535
        max_segment_size = 10485760
        max_segment_count = 10
        [v4.1]
        name = "loopback"
        listen = "{address}"
        next_connection_delay_ms = 1
        [v4.1.connections]
        connection_timeout_ms = 5000
        max_payload_size = 1048576
        max_inflight_count = 65535
        dynamic_filters = true
        "#
    );
    let config: rumqttd::Config =
        toml::from_str(&config).wrap_err("the embedded broker's settings")?;
    std::thread::Builder::new()
        .name("broker".into())
        .spawn(move || {
            if let Err(error) = rumqttd::Broker::new(config).start() {
                tracing::error!(%error, "embedded broker stopped");
            }
        })
        .wrap_err("cannot start the embedded broker")?;
    Ok(address)
}
