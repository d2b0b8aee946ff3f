//! What the rhythm model sees of the recordings of a folder: for `einthoven_training.rhythm`.
//!
//! `rhythm_input DIR > OUT`: for each stretch the name of the record (16 bytes, padded with zeros), its start and end in seconds
//! (f64), 1 where the record ends with it, else 0 (f64), and the tensor (f32), all little-endian.

use std::error::Error;
use std::io::{BufWriter, Write};
use std::path::Path;

use dsp::{Chain, Config, Output};
use ecg::{BootId, Utc};
use einthoven::record::{Player, Record, records_in};
use einthoven::rhythm::Collector;
use einthoven::wearable::Played;
use infer::Stretch;
use infer::rhythm::input;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("no folder")?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for path in records_in(Path::new(&dir))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (stretches, n_hops) = stretches(&path)?;
        for (k, stretch) in stretches.iter().enumerate() {
            let mut padded = [0; 16];
            padded[..name.len().min(16)].copy_from_slice(&name.as_bytes()[..name.len().min(16)]);
            out.write_all(&padded)?;
            let seconds = |at: ecg::SampleIndex| at.0 as f64 / stretch.context.rate.hz();
            let ends = f64::from(u8::from(k >= n_hops));
            for value in [
                seconds(stretch.context.start),
                seconds(stretch.context.end),
                ends,
            ] {
                out.write_all(&value.to_le_bytes())?;
            }
            let (values, _) = input(stretch.lead, &stretch.samples, &stretch.context);
            for value in values {
                out.write_all(&value.to_le_bytes())?;
            }
        }
    }
    Ok(out.flush()?)
}

/// The stretches of a record at its hops and up to its end, and how many the former are.
fn stretches(path: &Path) -> Result<(Vec<Stretch>, usize), Box<dyn Error>> {
    let player = Player::new::<&str>(Record::open(path)?, &[])?;
    let config = Config::default();
    let mut chain = Chain::new(player.layout(), &config)?;
    let collector = Collector::new(player.layout(), config.window.rate_hz);
    let mut collector = collector.ok_or("no ECG")?;
    let (mut outputs, mut stretches) = (Vec::new(), Vec::new());
    let mut take = |output: Output| {
        collector.push(&output);
        stretches.extend(std::iter::from_fn(|| collector.next_stretch()));
    };
    for packet in Played::new(player, BootId(0), Utc(0))? {
        chain.push(&packet?.to_block(), &mut outputs);
        outputs.drain(..).for_each(&mut take);
    }
    chain.finish(&mut outputs);
    outputs.into_iter().for_each(take);
    let last = collector.last();
    // A hop may be the end.
    let end = |stretch: &Stretch| stretch.context.end;
    stretches.pop_if(|hop| last.as_ref().is_some_and(|last| end(hop) == end(last)));
    let n_hops = stretches.len();
    stretches.extend(last);
    Ok((stretches, n_hops))
}
