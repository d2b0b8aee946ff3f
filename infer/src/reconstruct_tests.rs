#![expect(
    clippy::float_cmp,
    clippy::cast_possible_truncation,
    reason = "limb leads are compared to the last bit, after one rounding to f32"
)]

use super::*;
use crate::{Calibration, Unfit};
use ecg::{SampleIndex, SampleRate};
use proptest::prelude::*;

const N: usize = 2560;

fn window(leads: &[Lead], samples: Vec<f32>) -> Window {
    let n_samples = samples.len() / leads.len();
    Window {
        start: SampleIndex(500),
        end: SampleIndex(500 + n_samples as u64),
        rate: SampleRate::new(250.0).unwrap(),
        leads: leads.to_vec(),
        samples,
        n_samples,
        unusable: Vec::new(),
    }
}

/// A simulated heart.
fn waves(leads: &[Lead]) -> Window {
    let scenario = ecg::simulate::Scenario::new(1, SampleRate::new(250.0).unwrap());
    let segment = ecg::simulate::record(&scenario, N as f64 / 250.0).unwrap();
    let of = |lead: Lead| segment.lead(lead).or(segment.lead(Lead::II)).unwrap();
    let samples = leads.iter().flat_map(|lead| of(*lead)).copied().collect();
    window(leads, samples)
}

fn shipped() -> Reconstructor {
    Reconstructor::new(Library::shipped().unwrap())
}

fn origins(twelve: &TwelveLead) -> String {
    let letters = twelve.origin.iter().map(|origin| match origin {
        LeadOrigin::Measured => 'M',
        LeadOrigin::Derived => 'D',
        LeadOrigin::Reconstructed => 'R',
        LeadOrigin::Absent => '-',
    });
    letters.collect()
}

/// I and II are as given; the other limb leads follow from them to the last bit.
fn assert_identities(twelve: &TwelveLead) {
    let row = |lead| twelve.lead(lead).unwrap();
    for k in 0..twelve.n_samples {
        let (i, ii) = (f64::from(row(Lead::I)[k]), f64::from(row(Lead::II)[k]));
        for (lead, follows) in [
            (Lead::III, ii - i),
            (Lead::AVR, -(i + ii) / 2.0),
            (Lead::AVL, i - ii / 2.0),
            (Lead::AVF, ii - i / 2.0),
        ] {
            if twelve.origin[lead.row().unwrap()] != LeadOrigin::Measured {
                assert_eq!(row(lead)[k], follows as f32, "{lead} at {k}");
            }
        }
    }
}

#[test]
fn origins_say_where_each_lead_comes_from() {
    use Lead::{AVF, AVL, AVR, I, II, III, Unstated, V1, V2, V5};
    use Withheld::TooFewLeads;
    for (leads, expected, withheld) in [
        (&[II, V1, V5][..], "RMRRRRMRRRMR", None),
        (&[V5, II, V1], "RMRRRRMRRRMR", None),
        (&[I, II, V1, V5], "MMDDDDMRRRMR", None),
        // II is derived, and as good as measured for the model.
        (&[I, III, V1, V5], "MDMDDDMRRRMR", None),
        (&[II, V1, V2, V5, Unstated], "RMRRRRMMRRMR", None),
        (&[II], "RMRRRRRRRRRR", None),
        (&[I], "MRRRRRRRRRRR", None),
        (&[AVR, AVL], "DDDMMDRRRRRR", None),
        (&[II, AVF], "DMDDDMRRRRRR", None),
        (&[AVF], "-----M------", Some(TooFewLeads)),
        (&[V1, V5], "------M---M-", Some(TooFewLeads)),
        (&[Unstated], "------------", Some(TooFewLeads)),
    ] {
        let window = waves(leads);
        let twelve = shipped().reconstruct(&window, None).unwrap();
        assert_eq!(origins(&twelve), expected, "{leads:?}");
        assert_eq!(twelve.model.is_some(), expected.contains('R'));
        assert_eq!(twelve.trust.is_some(), expected.contains('R'));
        assert_eq!(twelve.withheld, withheld, "{leads:?}");
        for lead in Lead::TWELVE {
            let band = twelve.band(lead);
            let origin = twelve.origin[lead.row().unwrap()];
            assert_eq!(band.is_some(), origin == LeadOrigin::Reconstructed);
            assert!(band.is_none_or(|band| band.iter().all(|half| *half > 0.0)));
        }
        assert_eq!((twelve.start, twelve.end), (window.start, window.end));
        for (k, lead) in leads
            .iter()
            .enumerate()
            .filter(|(_, lead)| **lead != Unstated)
        {
            assert_eq!(twelve.lead(*lead).unwrap(), window.lead(k));
        }
        if twelve.lead(I).is_some() && twelve.lead(II).is_some() {
            assert_identities(&twelve);
        }
        for lead in Lead::TWELVE
            .iter()
            .filter(|lead| twelve.lead(**lead).is_none())
        {
            let row = lead.row().unwrap();
            assert!(
                twelve.samples[row * N..][..N]
                    .iter()
                    .all(|&sample| sample == 0.0)
            );
        }
    }
}

#[test]
fn windows_of_another_shape_are_refused_and_can_still_be_derived() {
    let leads = [Lead::I, Lead::II, Lead::V1];
    let short = window(&leads, vec![0.5; 300]);
    let error = shipped().reconstruct(&short, None).unwrap_err().to_string();
    assert_eq!(error, "window refused: n_samples: expected 2560, found 100");
    assert_eq!(origins(&derive(&short).unwrap()), "MMDDDDM-----");

    let mut fast = waves(&leads);
    fast.rate = SampleRate::new(500.0).unwrap();
    let error = shipped().reconstruct(&fast, None).unwrap_err().to_string();
    assert_eq!(error, "window refused: rate: expected 250 Hz, found 500 Hz");

    let mut ragged = waves(&leads);
    ragged.samples.pop();
    assert!(matches!(
        derive(&ragged),
        Err(Error::Window {
            field: "samples",
            ..
        })
    ));
    let twice = waves(&[Lead::II, Lead::II]);
    assert!(matches!(
        derive(&twice),
        Err(Error::Window { field: "leads", .. })
    ));
    assert_eq!(
        origins(&derive(&window(&leads, vec![])).unwrap()),
        "MMDDDDM-----"
    );
}

#[test]
fn nothing_is_made_of_signals_that_mean_nothing() {
    let leads = [Lead::II, Lead::V1, Lead::V5];
    let withheld = |change: &dyn Fn(&mut Window)| {
        let mut window = waves(&leads);
        change(&mut window);
        let twelve = shipped().reconstruct(&window, None).unwrap();
        let given = twelve.origin.contains(&LeadOrigin::Reconstructed);
        assert_eq!(given, twelve.withheld.is_none());
        assert!(given || origins(&twelve) == "-M----M---M-");
        for lead in Lead::TWELVE {
            let row = lead.row().unwrap();
            let samples = &twelve.samples[row * N..][..N];
            let measured = twelve.origin[row] == LeadOrigin::Measured;
            assert!(
                measured || samples.iter().all(|mv| mv.is_finite()),
                "{lead}"
            );
        }
        twelve.withheld
    };
    assert_eq!(withheld(&|_| {}), None);
    for fill in [0.0, 3.0, f32::NAN, f32::INFINITY, 32.0, f32::MAX] {
        let all = withheld(&|window| window.samples.fill(fill));
        assert_eq!(all, Some(Withheld::Unusable), "{fill}");
    }
    // One lead that is flat: the others are a set that the model knows.
    assert_eq!(withheld(&|window| window.samples[N..2 * N].fill(0.0)), None);
    assert_eq!(withheld(&|window| window.samples[N + 7] = f32::NAN), None);
    let off = |percent: usize| {
        move |window: &mut Window| {
            let n = N * percent / 100;
            window.unusable = (0..3)
                .map(|lead| ecg::Unusable {
                    lead,
                    samples: 0..n,
                })
                .collect();
        }
    };
    assert_eq!(withheld(&off(60)), Some(Withheld::Unusable));
    assert_eq!(withheld(&off(30)), None);
    // Noise is no heart.
    let noise = withheld(&|window| {
        let mut state = 1u32;
        for mv in &mut window.samples {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            *mv = (state >> 8) as f32 / 8e6 - 1.0;
        }
    });
    assert_eq!(noise, Some(Withheld::Unfamiliar));
}

#[test]
fn gain_does_not_matter() {
    let window = waves(&[Lead::II, Lead::V1, Lead::V5]);
    let mut double = window.clone();
    for mv in &mut double.samples {
        *mv *= 2.0;
    }
    let reconstructor = shipped();
    let one = reconstructor.reconstruct(&window, None).unwrap();
    let two = reconstructor.reconstruct(&double, None).unwrap();
    for (one, two) in one.samples.iter().zip(&two.samples) {
        assert!((2.0 * one - two).abs() < 2e-3, "{one} {two}");
    }
}

/// The fixture was made by onnxruntime: see `write_golden` in `training/`.
#[test]
fn tract_agrees_with_onnxruntime() {
    let input = include_bytes!("../training/golden/vae-12.input.i16");
    let output = include_bytes!("../training/golden/vae-12.output.f32");
    let (input, _) = input.as_chunks::<2>();
    let (output, _) = output.as_chunks::<4>();
    let samples: Vec<f32> = input
        .iter()
        .map(|bytes| f32::from(i16::from_le_bytes(*bytes)) / 1000.0)
        .collect();
    let reconstructor = shipped();
    let model = reconstructor.library.reconstructing().next().unwrap();
    let form = &model.form;
    let usable = vec![true; N];
    let given = |lead: &Lead| {
        let row = [Lead::II, Lead::V1, Lead::V5]
            .iter()
            .position(|l| l == lead)?;
        Some(Given {
            samples: &samples[row * N..][..N],
            usable: &usable,
        })
    };
    let leads: Vec<_> = form.leads.iter().map(given).collect();
    let outputs = model.plan.run(&tensor::encode(form, &leads)).unwrap();
    let every = |values: &[f32], step: usize| values.iter().copied().step_by(step).collect();
    let kept: [Vec<f32>; 3] = [
        every(&outputs[0], 8),
        every(&outputs[1], 4),
        every(&outputs[2], 1),
    ];
    let found = kept.concat();
    assert_eq!(found.len(), output.len());
    let mut worst = 0.0f32;
    for (found, bytes) in found.iter().zip(output) {
        worst = worst.max((found - f32::from_le_bytes(*bytes)).abs());
    }
    assert!(worst <= 1e-5, "{worst}");
}

#[test]
fn quantiles_say_what_share_is_below() {
    let quantiles = [1.0, 2.0, 4.0];
    for (value, share) in [(0.0, 0.0), (1.5, 0.25), (3.0, 0.75), (5.0, 1.0)] {
        assert_eq!(share_below(&quantiles, value), share);
    }
}

#[test]
fn a_calibration_moves_a_model_as_far_as_the_recording_goes() {
    let reconstructor = shipped();
    let observed = [Lead::II, Lead::V1, Lead::V5];
    let seen = waves(&observed);
    let plain = reconstructor.reconstruct(&seen, None).unwrap();
    // A patient whose V2 is twice what the model says, and everything else as it says.
    let mut recorded = window(&Lead::TWELVE, plain.samples.clone());
    let v2 = Lead::V2.row().unwrap();
    for mv in &mut recorded.samples[v2 * N..][..N] {
        *mv *= 2.0;
    }
    let calibration = Calibration::fit(&reconstructor, &observed, &[(&recorded, 0..N)]).unwrap();
    let own = reconstructor
        .reconstruct(&seen, Some(&calibration))
        .unwrap();
    let off = |twelve: &TwelveLead, lead: Lead| -> f32 {
        let row = lead.row().unwrap();
        let truth = &recorded.samples[row * N..][..N];
        let found = twelve.lead(lead).unwrap();
        let square = |(a, b): (&f32, &f32)| (a - b).powi(2);
        (found.iter().zip(truth).map(square).sum::<f32>() / N as f32).sqrt()
    };
    assert!(off(&own, Lead::V2) < 0.4 * off(&plain, Lead::V2));
    assert!(off(&own, Lead::V6) < 0.02);
    // Where a measured lead means nothing for a while, it does nothing.
    let mut holed = seen.clone();
    holed.unusable.push(ecg::Unusable {
        lead: 1,
        samples: 500..750,
    });
    let (with, without) = (
        reconstructor
            .reconstruct(&holed, Some(&calibration))
            .unwrap(),
        reconstructor.reconstruct(&holed, None).unwrap(),
    );
    assert_eq!(with, without);
    // For other leads than it was made for, it does nothing.
    let other = waves(&[Lead::I, Lead::II]);
    let (with, without) = (
        reconstructor
            .reconstruct(&other, Some(&calibration))
            .unwrap(),
        reconstructor.reconstruct(&other, None).unwrap(),
    );
    assert_eq!(with, without);
}

#[test]
fn a_recording_with_swapped_electrodes_is_refused() {
    let reconstructor = shipped();
    let observed = [Lead::II, Lead::V1, Lead::V5];
    let plain = reconstructor.reconstruct(&waves(&observed), None).unwrap();
    let fit = |change: &dyn Fn(&mut [f32])| {
        let mut recorded = window(&Lead::TWELVE, plain.samples.clone());
        change(&mut recorded.samples);
        Calibration::fit(&reconstructor, &observed, &[(&recorded, 0..N)])
    };
    let error = fit(&|samples| samples[4 * N..5 * N].fill(1.0)).unwrap_err();
    assert!(
        matches!(
            error,
            Unfit::Law {
                lead: Lead::AVL,
                ..
            }
        ),
        "{error}"
    );
    // V3 upside down.
    let error = fit(&|samples| samples[8 * N..9 * N].iter_mut().for_each(|mv| *mv = -*mv));
    assert!(matches!(
        error.unwrap_err(),
        Unfit::Reversed { lead: Lead::V3, .. }
    ));
    let part = window(&observed, plain.samples[..3 * N].to_vec());
    let error = Calibration::fit(&reconstructor, &observed, &[(&part, 0..N)]).unwrap_err();
    assert_eq!(error.to_string(), "lead I is not in the recording");
}

proptest! {
    #[test]
    fn any_two_limb_leads_give_the_others(
        a in 0usize..6, step in 1usize..6,
        i in prop::collection::vec(-5.0f32..5.0, 20), ii in prop::collection::vec(-5.0f32..5.0, 20),
    ) {
        let rows = [a, (a + step) % 6];
        let truth = |row: usize, k: usize| {
            (axis(row).0 * f64::from(i[k]) + axis(row).1 * f64::from(ii[k])) as f32
        };
        let samples = rows.iter().flat_map(|&row| (0..20).map(move |k| truth(row, k)));
        let twelve = derive(&window(&rows.map(|row| Lead::TWELVE[row]), samples.collect())).unwrap();
        for row in 0..6 {
            let expected = if rows.contains(&row) { LeadOrigin::Measured } else { LeadOrigin::Derived };
            prop_assert_eq!(twelve.origin[row], expected);
            for k in 0..20 {
                let found = twelve.samples[row * 20 + k];
                prop_assert!((found - truth(row, k)).abs() < 1e-5);
            }
        }
        assert_identities(&twelve);
    }
}
