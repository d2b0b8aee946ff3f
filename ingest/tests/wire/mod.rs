//! A tap between client and broker: it passes every byte on and remembers it.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Bytes = Arc<Mutex<Vec<u8>>>;

pub(crate) struct Tap {
    port: u16,
    from_client: Bytes,
    from_broker: Bytes,
}

impl Tap {
    /// Taps the first connection made to it.
    pub(crate) async fn start(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tap = Self {
            port: listener.local_addr().unwrap().port(),
            from_client: Bytes::default(),
            from_broker: Bytes::default(),
        };
        let (from_client, from_broker) = (tap.from_client.clone(), tap.from_broker.clone());
        tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            let broker = TcpStream::connect(("127.0.0.1", broker)).await.unwrap();
            let (client_reads, client_writes) = client.into_split();
            let (broker_reads, broker_writes) = broker.into_split();
            tokio::spawn(pass(client_reads, broker_writes, from_client));
            pass(broker_reads, client_writes, from_broker).await;
        });
        tap
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Packet ids of what was published to the client and of what it acknowledged, in the order of the wire.
    pub(crate) fn packet_ids(&self) -> (Vec<u16>, Vec<u16>) {
        const PUBLISH: u8 = 3;
        const PUBACK: u8 = 4;
        let id = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
        let mut published = Vec::new();
        for (header, body) in packets(&self.from_broker.lock().unwrap()) {
            if header >> 4 == PUBLISH && header & 0b110 != 0 {
                let topic = usize::from(id(&body));
                published.push(id(&body[2 + topic..]));
            }
        }
        let mut acked = Vec::new();
        for (header, body) in packets(&self.from_client.lock().unwrap()) {
            if header >> 4 == PUBACK {
                acked.push(id(&body));
            }
        }
        (published, acked)
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    seen: Bytes,
) {
    let mut buffer = vec![0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        seen.lock().unwrap().extend_from_slice(&buffer[..n]);
        if to.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
}

/// Cuts a stream into MQTT packets: first byte, and what follows the length.
fn packets(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut packets = Vec::new();
    while let Some((&header, rest)) = bytes.split_first() {
        let (mut length, mut n) = (0, 0);
        loop {
            let byte = rest[n];
            length |= usize::from(byte & 0x7f) << (7 * n);
            n += 1;
            if byte < 0x80 {
                break;
            }
        }
        packets.push((header, rest[n..n + length].to_vec()));
        bytes = &rest[n + length..];
    }
    packets
}
