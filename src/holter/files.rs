//! The report as files: tables of episodes and of heart rate variability, and a summary.

use dsp::ectopy::{Counts, Episode, Origin, Rhythm};
use dsp::hrv::Measures;
use ecg::{SampleIndex, SampleRate};
use serde_json::{Value, json};

use super::Holter;

/// The classes in the order of [`Holter::classes`].
const CLASSES: [&str; 5] = ["N", "S", "V", "F", "Q"];

impl Holter {
    /// A line of comma-separated values for each episode, under a line of names; rates in beats per minute.
    pub fn episodes_csv(&self) -> String {
        let mut text = String::from(
            "pattern,origin,rhythm,onset_sample,offset_sample,onset_s,offset_s,n_beats,n_ectopic,bpm\n",
        );
        for episode in &self.episodes {
            let row = [
                episode.pattern.name().to_owned(),
                episode.origin.name().to_owned(),
                episode.rhythm().map_or("", Rhythm::code).to_owned(),
                episode.onset.to_string(),
                episode.offset.to_string(),
                cell(Some(seconds(self.rate, episode.onset)), 3),
                cell(Some(seconds(self.rate, episode.offset)), 3),
                episode.n_beats.to_string(),
                episode.n_ectopic.to_string(),
                cell(episode.bpm, 1),
            ];
            text += &row.join(",");
            text.push('\n');
        }
        text
    }

    /// A line of comma-separated values for each stretch of five minutes, under a line of names; empty where
    /// there is too little for a measure.
    pub fn stretches_csv(&self) -> String {
        let mut text = String::from(
            "start_sample,start_s,n_beats,n_nn,mean_nn_ms,sdnn_ms,rmssd_ms,pnn50_percent,\
             lf_ms2,hf_ms2,lf_hf,sample_entropy,ectopic_percent\n",
        );
        for (start, measures) in &self.stretches {
            let row = [
                start.to_string(),
                cell(Some(seconds(self.rate, *start)), 3),
                measures.n_beats.to_string(),
                measures.n_nn.to_string(),
                cell(Some(measures.mean_nn_ms), 1),
                cell(Some(measures.sdnn_ms), 2),
                cell(measures.rmssd_ms, 2),
                cell(measures.pnn50_percent, 2),
                cell(measures.lf_ms2, 1),
                cell(measures.hf_ms2, 1),
                cell(measures.lf_hf, 3),
                cell(measures.sample_entropy, 3),
                cell(measures.ectopic_percent, 2),
            ];
            text += &row.join(",");
            text.push('\n');
        }
        text
    }

    /// The summary of the record `name`, of `end` samples: what is in the tables, counted and averaged.
    pub fn summary(&self, name: &str, end: SampleIndex, blind_seconds: f64) -> Value {
        let length = seconds(self.rate, end);
        let seen = (length - blind_seconds).max(0.0);
        let classes: serde_json::Map<String, Value> = CLASSES
            .iter()
            .zip(self.classes)
            .map(|(class, n)| ((*class).to_owned(), n.into()))
            .collect();
        let hours = self.hours.iter().map(|(hour, burden)| {
            json!({
                "hour": hour,
                "beats": burden.n_beats,
                "ventricular": counts(&burden.ventricular),
                "supraventricular": counts(&burden.supraventricular),
            })
        });
        json!({
            "record": name,
            "rate_hz": self.rate.hz(),
            "seconds": length,
            "no_electrode_seconds": blind_seconds,
            "beats": self.burden.n_beats,
            "classes": classes,
            "ventricular": self.origin(Origin::Ventricular, seen),
            "supraventricular": self.origin(Origin::Supraventricular, seen),
            "hours": hours.collect::<Vec<_>>(),
            "hrv": self.variability(),
        })
    }

    /// What comes from one origin in `seen` seconds.
    fn origin(&self, origin: Origin, seen: f64) -> Value {
        let of_origin = self.burden.of(origin);
        let mut value = counts(of_origin);
        value["percent"] = self.burden.percent(origin).into();
        let per_hour = (seen > 0.0).then(|| of_origin.n_beats as f64 * 3600.0 / seen);
        value["per_hour"] = per_hour.into();
        value["longest_run"] = of_origin.longest_run.map(|run| self.run(&run)).into();
        value["fastest_run"] = of_origin.fastest_run.map(|run| self.run(&run)).into();
        value
    }

    fn run(&self, run: &Episode) -> Value {
        json!({
            "onset_sample": run.onset.0,
            "beats": run.n_beats,
            "bpm": run.bpm,
            "seconds": self.rate.seconds(run.offset.since(run.onset)),
        })
    }

    /// The whole record in the time domain, and the means over stretches of the rest.
    fn variability(&self) -> Option<Value> {
        let whole = self.whole?;
        let mean = |of: fn(&Measures) -> Option<f64>| {
            let values: Vec<f64> = self.stretches.iter().filter_map(|(_, m)| of(m)).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        Some(json!({
            "n_nn": whole.n_nn,
            "mean_nn_ms": whole.mean_nn_ms,
            "sdnn_ms": whole.sdnn_ms,
            "sdann_ms": whole.sdann_ms,
            "sdnn_index_ms": whole.sdnn_index_ms,
            "rmssd_ms": whole.rmssd_ms,
            "pnn50_percent": whole.pnn50_percent,
            "stretches": {
                "n": self.stretches.len(),
                "mean_lf_ms2": mean(|m| m.lf_ms2),
                "mean_hf_ms2": mean(|m| m.hf_ms2),
                "mean_lf_hf": mean(|m| m.lf_hf),
                "mean_sample_entropy": mean(|m| m.sample_entropy),
            },
        }))
    }
}

fn counts(counts: &Counts) -> Value {
    json!({
        "beats": counts.n_beats,
        "singles": counts.n_singles,
        "couplets": counts.n_couplets,
        "runs": counts.n_runs,
        "bigeminy": counts.n_bigeminy,
        "trigeminy": counts.n_trigeminy,
    })
}

fn seconds(rate: SampleRate, at: SampleIndex) -> f64 {
    rate.seconds(at.since(SampleIndex(0)))
}

/// A number with so many decimals; empty where there is none.
fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(String::new, |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::beats;
    use super::*;

    fn report(letters: &str) -> Holter {
        Holter::of(&beats(letters), &[], SampleRate::new(1000.0).unwrap())
    }

    #[test]
    fn tables() {
        let report = report(&format!("NVNVNVNNVVNSSSN{}", "N".repeat(40)));
        assert_eq!(
            report.episodes_csv().lines().skip(1).collect::<Vec<_>>(),
            [
                "bigeminy,ventricular,B,1500,3500,1.500,3.500,5,3,120.0",
                "couplet,ventricular,,5000,5500,5.000,5.500,2,2,120.0",
                "run,supraventricular,SVTA,6500,7500,6.500,7.500,3,3,120.0",
            ]
        );
        let table = report.stretches_csv();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines[1],
            "0,0.000,55,41,500.0,0.00,0.00,0.00,,,,0.000,14.55"
        );
        assert_eq!(lines[0].split(',').count(), lines[1].split(',').count());
    }

    #[test]
    fn a_summary() {
        let letters = format!("NVNVNVNNVVNVVVVNSN{}", "N".repeat(42));
        let summary = report(&letters).summary("r", SampleIndex(72_000), 36.0);
        assert_eq!(summary["beats"], 60);
        assert_eq!(summary["classes"]["V"], 9);
        let v = &summary["ventricular"];
        for (key, value) in [
            ("beats", 9),
            ("singles", 3),
            ("couplets", 1),
            ("runs", 1),
            ("bigeminy", 1),
            ("trigeminy", 0),
        ] {
            assert_eq!(v[key], value, "{key}");
        }
        assert_eq!(
            (&v["percent"], &v["per_hour"]),
            (&15.0.into(), &900.0.into())
        );
        assert_eq!(v["longest_run"]["beats"], 4);
        assert_eq!(v["fastest_run"]["bpm"], 120.0);
        assert_eq!(summary["supraventricular"]["longest_run"], Value::Null);
        assert_eq!(summary["hours"][0]["ventricular"]["beats"], 9);
        assert_eq!(summary["hrv"]["mean_nn_ms"], 500.0);
        assert_eq!(
            report("NN").summary("r", SampleIndex(0), 0.0)["hrv"],
            Value::Null
        );
    }
}
