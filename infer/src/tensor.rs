//! Leads to a model's tensors and back. **The only place where a model's layout is known:**
//! `[1, lead, sample]`, rows in the manifest's order, in the model's units.

use ecg::Lead;

use crate::Manifest;

/// The shape of the input tensor.
pub(crate) fn input_shape(manifest: &Manifest) -> [usize; 3] {
    [1, manifest.input.len(), manifest.window.n_samples]
}

/// The shape of the output tensor.
pub(crate) fn output_shape(manifest: &Manifest) -> [usize; 3] {
    [1, manifest.output.len(), manifest.window.n_samples]
}

/// The input tensor of `observed` leads, mV, which `lead` gives; the rest holds the fill value.
pub(crate) fn encode<'a>(
    manifest: &Manifest,
    lead: impl Fn(Lead) -> Option<&'a [f32]>,
) -> Vec<f32> {
    let n_samples = manifest.window.n_samples;
    let mv = manifest.normalisation.mv_per_unit();
    let mut values = Vec::with_capacity(manifest.input.len() * n_samples);
    for &row in &manifest.input {
        match lead(row).filter(|_| manifest.observed.contains(&row)) {
            Some(samples) => values.extend(samples.iter().map(|sample| sample / mv)),
            None => values.extend(std::iter::repeat_n(manifest.fill, n_samples)),
        }
    }
    values
}

/// The leads of the output tensor, mV. `values` has [`output_shape`].
pub(crate) fn decode(
    manifest: &Manifest,
    values: &[f32],
) -> impl Iterator<Item = (Lead, Vec<f32>)> {
    let mv = manifest.normalisation.mv_per_unit();
    manifest
        .output
        .iter()
        .zip(values.chunks_exact(manifest.window.n_samples))
        .map(move |(&lead, row)| (lead, row.iter().map(|value| value * mv).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_follow_the_manifest_and_the_unobserved_are_filled() {
        let text = include_str!("../models/linear-3to12.toml")
            .replace("n_samples = 2560", "n_samples = 2")
            .replace(
                "leads = [\"II\", \"V1\", \"V5\"]",
                "leads = [\"V5\", \"I\", \"II\"]",
            )
            .replace(
                "observed = [\"II\", \"V1\", \"V5\"]",
                "observed = [\"II\", \"V5\"]",
            )
            .replace("fill = 0.0", "fill = 7.0")
            .replace("kind = \"none\"", "kind = \"scale\"\nmv = 0.5");
        let manifest = Manifest::parse("m.toml", &text).unwrap();
        let leads = [
            (Lead::I, [9.0, 9.0]),
            (Lead::II, [1.0, 2.0]),
            (Lead::V5, [3.0, 4.0]),
        ];
        let input = encode(&manifest, |lead| {
            let (_, samples) = leads.iter().find(|(name, _)| *name == lead)?;
            Some(&samples[..])
        });
        assert_eq!(input, [6.0, 8.0, 7.0, 7.0, 2.0, 4.0]);
        assert_eq!(input_shape(&manifest), [1, 3, 2]);
        let rows: Vec<_> = decode(
            &manifest,
            &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        )
        .collect();
        assert_eq!(rows[0], (Lead::I, vec![0.0, 0.5]));
        assert_eq!(rows[4], (Lead::V6, vec![4.0, 4.5]));
    }
}
