//! The MQTT client against a real Mosquitto, in both versions of the protocol.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers included")]

mod broker;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use ecg::DeviceId;
use ingest::mqtt::{
    Config, Delivery, Loss, Monitor, Protocol, Publisher, PublisherConfig, Retainer, State, run,
};
use ingest::{Error, Status, TopicKind};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use broker::Broker;
use wire::Tap;

const PATIENCE: Duration = Duration::from_secs(20);
const BOTH: [Protocol; 2] = [Protocol::V5, Protocol::V311];

fn device(name: &str) -> DeviceId {
    name.parse().unwrap()
}

fn config(url: &str, protocol: Protocol) -> Config {
    Config {
        url: url.to_owned(),
        client_id: "service".to_owned(),
        protocol,
        reconnect_min: Duration::from_millis(20),
        reconnect_max: Duration::from_millis(200),
        drain: Duration::from_secs(2),
        ..Config::default()
    }
}

/// A running client.
struct Client {
    deliveries: mpsc::Receiver<Delivery>,
    monitor: Arc<Monitor>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Client {
    /// Starts a client and waits until it has subscribed.
    async fn start(config: Config, capacity: usize) -> Self {
        let (sender, deliveries) = mpsc::channel(capacity);
        let monitor = Arc::new(Monitor::default());
        let shutdown = CancellationToken::new();
        let task = run(config, sender, Arc::clone(&monitor), shutdown.clone());
        let client = Self {
            deliveries,
            monitor,
            shutdown,
            task: tokio::spawn(task),
        };
        client.connected().await;
        client
    }

    async fn connected(&self) {
        let mut states = self.monitor.watch();
        let all = |states: &Vec<State>| {
            !states.is_empty() && states.iter().all(|s| matches!(s, State::Connected { .. }))
        };
        let waited = timeout(PATIENCE, states.wait_for(all)).await;
        assert!(matches!(waited, Ok(Ok(_))), "{:?}", self.monitor.ready());
    }

    async fn next(&mut self) -> Delivery {
        let next = timeout(PATIENCE, self.deliveries.recv()).await;
        next.expect("a delivery in time").expect("a running client")
    }

    /// The next `n` packets, without the status messages.
    async fn packets(&mut self, n: usize) -> Vec<Delivery> {
        let mut packets = Vec::new();
        while packets.len() < n {
            let delivery = self.next().await;
            match delivery.kind {
                TopicKind::Signal => packets.push(delivery),
                TopicKind::Status => delivery.ack.done(),
            }
        }
        packets
    }

    /// Dies without a word, as by SIGKILL.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        while self.deliveries.recv().await.is_some() {}
        timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(self.monitor.ready(), Err("broker: shut down".to_owned()));
    }
}

async fn publisher(url: &str, protocol: Protocol, name: &str) -> Publisher {
    let config = PublisherConfig {
        protocol,
        reconnect_max: Duration::from_millis(200),
        ..PublisherConfig::new(url)
    };
    Publisher::connect(config, &device(name)).await.unwrap()
}

/// Publishes the numbers as packets and waits until the broker has them.
async fn publish(url: &str, protocol: Protocol, numbers: std::ops::Range<u32>) {
    let mut publisher = publisher(url, protocol, "w-1").await;
    for number in numbers {
        publisher.publish(number.to_string()).await.unwrap();
    }
    publisher.close().await.unwrap();
}

fn numbers(deliveries: &[Delivery]) -> Vec<u32> {
    let number = |delivery: &Delivery| String::from_utf8_lossy(&delivery.payload).parse().unwrap();
    deliveries.iter().map(number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_and_status_are_delivered() {
    for protocol in BOTH {
        let broker = Broker::start();
        let mut client = Client::start(config(&broker.url(), protocol), 100).await;
        publish(&broker.url(), protocol, 0..3).await;
        let mut seen = Vec::new();
        for _ in 0..5 {
            let delivery = client.next().await;
            assert_eq!(delivery.device, device("w-1"));
            let payload = String::from_utf8(delivery.payload.to_vec()).unwrap();
            match delivery.kind {
                TopicKind::Status => {
                    Status::parse(&delivery.payload).unwrap();
                }
                TopicKind::Signal => assert!(payload.len() == 1),
            }
            seen.push(payload);
            delivery.ack.done();
        }
        assert_eq!(seen, ["online", "0", "1", "2", "offline"]);
        client.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_done_in_any_order_leave_in_order() {
    for protocol in BOTH {
        let broker = Broker::start();
        let tap = Tap::start(broker.port).await;
        let mut client = Client::start(config(&tap.url(), protocol), 100).await;
        publish(&broker.url(), protocol, 0..20).await;
        let mut packets = client.packets(20).await;
        // Odd ones first, then the even ones from the back.
        for k in (0..20).rev().filter(|k| k % 2 == 1) {
            packets.remove(k).ack.done();
        }
        while let Some(packet) = packets.pop() {
            packet.ack.done();
        }
        client.stop().await;
        // The tap sees the last of it a little later, and the broker later still.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (published, acked) = tap.packet_ids();
        assert!(published.len() >= 20);
        assert_eq!(acked, published[..acked.len()]);
        assert!(acked.len() >= 20, "{acked:?}");
        let mut again = Client::start(config(&broker.url(), protocol), 100).await;
        publish(&broker.url(), protocol, 99..100).await;
        assert_eq!(numbers(&again.packets(1).await), [99]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_client_did_not_ack_comes_again() {
    for protocol in BOTH {
        let broker = Broker::start();
        let mut client = Client::start(config(&broker.url(), protocol), 100).await;
        publish(&broker.url(), protocol, 0..10).await;
        let mut packets = client.packets(10).await;
        let rest = packets.split_off(4);
        for packet in packets {
            packet.ack.done();
        }
        let acked = || client.monitor.counts().acked;
        let waiting = async {
            while acked() < 4 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.kill().await;
        // Too late, and for a connection that is gone: ignored.
        for packet in rest {
            packet.ack.done();
        }
        publish(&broker.url(), protocol, 10..12).await;

        let mut client = Client::start(config(&broker.url(), protocol), 100).await;
        let packets = client.packets(8).await;
        assert_eq!(numbers(&packets), (4..12).collect::<Vec<_>>());
        for packet in packets {
            packet.ack.done();
        }
        client.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_broker_is_found_again_and_redelivers() {
    for protocol in BOTH {
        let mut broker = Broker::start();
        let mut client = Client::start(config(&broker.url(), protocol), 100).await;
        let mut publisher = publisher(&broker.url(), protocol, "w-1").await;
        for number in 0..5_u32 {
            publisher.publish(number.to_string()).await.unwrap();
        }
        publisher.wait_all().await.unwrap();
        let held = client.packets(5).await;
        broker.stop();
        let mut states = client.monitor.watch();
        let is_waiting = |states: &Vec<State>| matches!(states[0], State::Waiting { .. });
        timeout(PATIENCE, states.wait_for(is_waiting))
            .await
            .unwrap()
            .unwrap();
        assert!(client.monitor.ready().unwrap_err().starts_with("broker: "));
        publisher.publish("5").await.unwrap();
        broker.resume();
        client.connected().await;
        publisher.close().await.unwrap();

        // A publisher that is told nothing resends, so its last packets may come twice.
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 6 {
            for packet in client.packets(1).await {
                seen.extend(numbers(std::slice::from_ref(&packet)));
                packet.ack.done();
            }
        }
        assert_eq!(seen, (0..6).collect());
        drop(held);
        assert!(client.monitor.counts().connects >= 2);
        assert!(client.monitor.counts().losses[Loss::Network as usize] >= 1);
        client.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_pipeline_parks_and_loses_nothing() {
    for protocol in BOTH {
        let broker = Broker::start();
        let config = Config {
            keep_alive: Duration::from_secs(5),
            receive_maximum: 50,
            ..config(&broker.url(), protocol)
        };
        let mut client = Client::start(config, 1).await;
        publish(&broker.url(), protocol, 0..200).await;
        // Longer than the broker would wait for a client that does not ping.
        if protocol == Protocol::V5 {
            tokio::time::sleep(Duration::from_secs(9)).await;
            assert!((40..=52).contains(&client.monitor.counts().parked));
        }
        for number in 0..200 {
            let packet = client.packets(1).await.pop().unwrap();
            let counts = client.monitor.counts();
            assert_eq!(
                numbers(std::slice::from_ref(&packet)),
                [number],
                "{protocol:?} {counts:?}"
            );
            packet.ack.done();
        }
        assert_eq!(client.monitor.counts().connects, 1);
        client.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_the_bytes_that_may_wait_comes_again_in_order() {
    // The broker may send 20 packets ahead, some 5 fit in.
    for (protocol, n) in [(Protocol::V5, 60), (Protocol::V311, 60)] {
        let broker = Broker::start();
        let config = Config {
            max_parked_bytes: 2500,
            receive_maximum: 20,
            keep_alive: Duration::from_secs(5),
            ..config(&broker.url(), protocol)
        };
        let mut client = Client::start(config, 1).await;
        let mut publisher = publisher(&broker.url(), protocol, "w-1").await;
        for k in 0..n {
            publisher.publish(vec![k; 300]).await.unwrap();
        }
        publisher.wait_all().await.unwrap();
        // Nothing is taken: the connection stays, for longer than the broker waits for pings, and no more waits than may.
        let until = tokio::time::Instant::now() + Duration::from_secs(9);
        while tokio::time::Instant::now() < until {
            let counts = client.monitor.counts();
            assert!(counts.parked <= 6, "{protocol:?} {counts:?}");
            assert_eq!(counts.connects, 1, "{protocol:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(client.monitor.is_held_back());
        let mut most = 0;
        let mut seen = Vec::new();
        while seen.len() < usize::from(n) {
            let packet = client.packets(1).await.pop().unwrap();
            most = most.max(client.monitor.counts().parked);
            // Over every new connection too: nobody may be taken for silent meanwhile.
            assert!(client.monitor.is_held_back());
            if !seen.contains(&packet.payload[0]) {
                seen.push(packet.payload[0]);
            }
            packet.ack.done();
        }
        assert_eq!(seen, (0..n).collect::<Vec<_>>(), "{protocol:?}");
        assert!(most <= 6, "{protocol:?}: {most}");
        assert!(client.monitor.counts().losses[Loss::Overload as usize] >= 1);
        timeout(PATIENCE, async {
            while client.monitor.is_held_back() || client.monitor.counts().unacked > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap();
        client.stop().await;
    }
}

/// What waits needs what was forgotten, to become durable.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_comes_again_also_if_nothing_can_be_acknowledged_before() {
    let broker = Broker::start();
    let config = Config {
        max_parked_bytes: 2500,
        ..config(&broker.url(), Protocol::V5)
    };
    let mut client = Client::start(config, 10).await;
    let mut publisher = publisher(&broker.url(), Protocol::V5, "w-1").await;
    for k in 0..40_u8 {
        publisher.publish(vec![k; 300]).await.unwrap();
    }
    publisher.wait_all().await.unwrap();
    let mut held = Vec::new();
    let last = timeout(PATIENCE, async {
        loop {
            let packet = client.packets(1).await.pop().unwrap();
            let number = packet.payload[0];
            held.push(packet);
            if client.monitor.counts().connects > 1 {
                break number;
            }
        }
    });
    // Again from the first on.
    assert_eq!(last.await.unwrap(), 0);
    assert!(held.len() >= 10);
    client.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_sends_what_becomes_done_and_keeps_the_session() {
    for protocol in BOTH {
        let broker = Broker::start();
        let mut client = Client::start(config(&broker.url(), protocol), 100).await;
        publish(&broker.url(), protocol, 0..6).await;
        let mut packets = client.packets(6).await;
        client.shutdown.cancel();
        assert!(
            client
                .deliveries
                .recv()
                .await
                .is_none_or(|d| d.kind == TopicKind::Status)
        );
        let rest = packets.split_off(3);
        for packet in packets {
            tokio::time::sleep(Duration::from_millis(20)).await;
            packet.ack.done();
        }
        drop(rest);
        let began = tokio::time::Instant::now();
        client.stop().await;
        assert!(
            began.elapsed() < Duration::from_millis(1900),
            "waited for nothing"
        );

        let mut client = Client::start(config(&broker.url(), protocol), 100).await;
        assert_eq!(numbers(&client.packets(3).await), [3, 4, 5]);
        client.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_connections_share_the_devices() {
    let broker = Broker::start();
    let config = Config {
        connections: 3,
        ..config(&broker.url(), Protocol::V5)
    };
    let mut client = Client::start(config, 100).await;
    publish(&broker.url(), Protocol::V5, 0..30).await;
    let packets = client.packets(30).await;
    let mut seen = numbers(&packets);
    seen.sort_unstable();
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
    for packet in packets {
        packet.ack.done();
    }
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_vanishes_is_offline() {
    for protocol in BOTH {
        let broker = Broker::start();
        let mut client = Client::start(config(&broker.url(), protocol), 100).await;
        let publisher = publisher(&broker.url(), protocol, "w-2").await;
        assert_eq!(client.next().await.payload, "online");
        drop(publisher);
        let will = client.next().await;
        assert_eq!(
            (will.kind, &will.payload[..]),
            (TopicKind::Status, &b"offline"[..])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_an_error_for_a_publisher_and_a_state_for_the_service() {
    let url = format!("mqtt://127.0.0.1:{}", broker::free_port());
    let config_of_publisher = PublisherConfig {
        connect_timeout: Duration::from_millis(500),
        ..PublisherConfig::new(&url)
    };
    let error = Publisher::connect(config_of_publisher, &device("w"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");

    let (sender, _deliveries) = mpsc::channel(1);
    let monitor = Arc::new(Monitor::default());
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(run(
        config(&url, Protocol::V5),
        sender,
        Arc::clone(&monitor),
        shutdown.clone(),
    ));
    let mut states = monitor.watch();
    let is_waiting = |states: &Vec<State>| matches!(states.first(), Some(State::Waiting { .. }));
    timeout(PATIENCE, states.wait_for(is_waiting))
        .await
        .unwrap()
        .unwrap();
    assert!(monitor.ready().unwrap_err().contains("refused"));
    shutdown.cancel();
    timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
}

/// What a subscriber who comes now is given of a topic at once.
async fn retained(url: &str, topic: &str) -> Option<String> {
    let (host, port) = url
        .strip_prefix("mqtt://")
        .unwrap()
        .split_once(':')
        .unwrap();
    let mut options = rumqttc::MqttOptions::new("late", host, port.parse().unwrap());
    options.set_clean_session(true);
    let (client, mut events) = rumqttc::AsyncClient::new(options, 8);
    client
        .subscribe(topic, rumqttc::QoS::AtLeastOnce)
        .await
        .unwrap();
    let message = async {
        loop {
            let event = events.poll().await.unwrap();
            if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) = event {
                assert!(publish.retain);
                return String::from_utf8(publish.payload.to_vec()).unwrap();
            }
        }
    };
    timeout(Duration::from_millis(500), message).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_last_is_retained_also_after_the_broker_was_away() {
    for protocol in BOTH {
        let mut broker = Broker::start();
        let url = broker.url();
        let retainer = Retainer::start(&config(&url, protocol)).unwrap();
        let set = async |topic: &str, payload: String| {
            retainer
                .set(topic.to_owned(), payload.into())
                .await
                .unwrap();
        };
        let mut progress = retainer.watch();
        for k in 0..100 {
            set("einthoven/v1/a/alarm", format!("a{k}")).await;
            set(&format!("einthoven/v1/d{k}/alarm"), format!("d{k}")).await;
        }
        let all = progress.wait_for(|progress| progress.acked > 100);
        timeout(PATIENCE, all).await.unwrap().unwrap();
        let a = async |wanted: &str| {
            let come = async {
                while retained(&url, "einthoven/v1/a/alarm").await.as_deref() != Some(wanted) {}
            };
            timeout(PATIENCE, come)
                .await
                .expect("the newest is retained");
        };
        a("a99").await;
        for k in [0, 57, 99] {
            let topic = format!("einthoven/v1/d{k}/alarm");
            assert_eq!(retained(&url, &topic).await, Some(format!("d{k}")));
        }

        broker.stop();
        set("einthoven/v1/a/alarm", "one".into()).await;
        set("einthoven/v1/a/alarm", "two".into()).await;
        broker.resume();
        a("two").await;
        // Nothing old comes after it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        a("two").await;
        set("einthoven/v1/a/alarm", "three".into()).await;
        assert!(retainer.close(PATIENCE).await);
        assert_eq!(
            retained(&url, "einthoven/v1/a/alarm").await.as_deref(),
            Some("three")
        );
    }
}
