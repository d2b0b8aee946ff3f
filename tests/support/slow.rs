//! Models that take much longer than those that ship, and say the same.

use std::path::Path;

use sha2::{Digest, Sha256};

/// The model that completes leads, the first in the line of every window.
const MODEL: &str = "vae-12";
/// Its input, and a name as long for what the rest of it reads instead.
const INPUT: &str = "measured";
const PREPARED: &str = "prepared";
/// Rows of its input: leads and masks.
const ROWS: usize = 16;
/// Samples that a filter between the two reaches over. It leaves everything as it is: one in the middle, zeros around it.
const REACH: usize = 129;

/// Writes the shipped models to `dir`, with `n` such filters before the one that completes leads.
pub(crate) fn models(dir: &Path, n: usize) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("infer/models");
    for entry in std::fs::read_dir(&shipped).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
    }
    let onnx = shipped.join(MODEL).with_extension("onnx");
    let onnx = slowed(&std::fs::read(onnx).unwrap(), n);
    let manifest = dir.join(MODEL).with_extension("toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let hex = |byte: &u8| format!("{byte:02x}");
    let digest = Sha256::digest(&onnx).iter().map(hex).collect::<Vec<_>>();
    let digest = format!("sha256 = \"{}\"", digest.concat());
    let is_digest = |line: &str| line.starts_with("sha256 = ");
    let lines = text.lines();
    let lines = lines.map(|line| if is_digest(line) { &digest } else { line });
    let text = lines.collect::<Vec<_>>().join("\n");
    std::fs::write(manifest, text).unwrap();
    std::fs::write(dir.join(MODEL).with_extension("onnx"), onnx).unwrap();
}

/// The ONNX file with filters before it. A message of protobuf that is appended to another is merged with it: what is
/// repeated, as the nodes of a graph are, follows what was there.
fn slowed(onnx: &[u8], n: usize) -> Vec<u8> {
    // Field numbers are those of onnx.proto. What read the input reads what comes of it; the input itself comes last.
    let name = field(1, INPUT.as_bytes());
    let at: Vec<usize> = (0..onnx.len() - name.len())
        .filter(|at| onnx[*at..].starts_with(&name))
        .collect();
    assert_eq!(at.len(), 3, "another model: see how it reads its input");
    let mut slowed = onnx.to_vec();
    for at in &at[..2] {
        slowed[at + 2..at + name.len()].copy_from_slice(PREPARED.as_bytes());
    }
    let mut weights = vec![0.0_f32; ROWS * ROWS * REACH];
    for row in 0..ROWS {
        weights[(row * ROWS + row) * REACH + REACH / 2] = 1.0;
    }
    let weights: Vec<u8> = weights.into_iter().flat_map(f32::to_le_bytes).collect();
    let dims = [ROWS, ROWS, REACH].map(|n| number(1, n)).concat();
    let tensor = [dims, number(2, 1), field(8, b"same"), field(9, &weights)].concat();
    let mut graph = field(5, &tensor);
    let between = |k: usize| match k {
        0 => INPUT.to_owned(),
        k if k == n => PREPARED.to_owned(),
        k => format!("filtered{k}"),
    };
    let pads = [
        field(1, b"pads"),
        number(8, REACH / 2),
        number(8, REACH / 2),
        number(20, 7),
    ];
    for k in 0..n {
        let node = [
            field(1, between(k).as_bytes()),
            field(1, b"same"),
            field(2, between(k + 1).as_bytes()),
            field(3, format!("filter{k}").as_bytes()),
            field(4, b"Conv"),
            field(5, &pads.concat()),
        ];
        graph.extend(field(1, &node.concat()));
    }
    slowed.extend(field(7, &graph));
    slowed
}

/// A field of protobuf with bytes.
fn field(tag: usize, bytes: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 2), varint(bytes.len()), bytes.to_vec()].concat()
}

/// A field of protobuf with a number.
fn number(tag: usize, n: usize) -> Vec<u8> {
    [varint(tag << 3), varint(n)].concat()
}

fn varint(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n > 0x7f {
        bytes.push(0x80 | n.to_le_bytes()[0]);
        n >>= 7;
    }
    bytes.push(n.to_le_bytes()[0]);
    bytes
}

#[test]
fn a_slow_model_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    models(dir.path(), 2);
    // Beats, more or less, a little later in each lead.
    let lead = |k: usize| {
        let beat = move |n: usize| ((n + 3 * k) % 200) as f32 - 100.0;
        (0..2560).map(move |n| (-beat(n).powi(2) / 20.0).exp())
    };
    let window = ecg::Window {
        start: ecg::SampleIndex(0),
        end: ecg::SampleIndex(2560),
        rate: ecg::SampleRate::new(250.0).unwrap(),
        leads: vec![ecg::Lead::II, ecg::Lead::V1, ecg::Lead::V5],
        samples: (0..3).flat_map(lead).collect(),
        n_samples: 2560,
        unusable: Vec::new(),
    };
    let libraries = [
        infer::Library::shipped().unwrap(),
        infer::Library::load(dir.path()).unwrap(),
    ];
    let [(shipped, soon), (slow, late)] = libraries.map(|library| {
        let reconstructor = infer::Reconstructor::new(library);
        let began = std::time::Instant::now();
        let said = reconstructor.reconstruct(&window, None).unwrap();
        (said, began.elapsed())
    });
    println!("{soon:?} and {late:?}");
    assert_eq!(shipped.samples.len(), slow.samples.len());
    let pairs = shipped.samples.iter().zip(&slow.samples);
    let most = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // The order of sums is another.
    assert!(most < 1e-4, "{most} mV");
}
