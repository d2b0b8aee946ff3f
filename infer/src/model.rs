//! An ONNX file as an optimised plan. **The only file that names tract.**
//!
//! Batch of one, concrete shapes, f32: the shapes for which tract's convolutions are fast.
//! A plan is shared, not copied, by the threads that run it. tract may panic on a graph that is
//! broken in ways it did not foresee, so loading and running catch that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

use crate::error::panic_message;
use crate::{Error, Kind, Manifest, tensor};

/// A model that fits its manifest, ready to run.
#[derive(Clone)]
pub(crate) struct Plan {
    plan: Arc<TypedRunnableModel>,
    input_shape: [usize; 3],
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plan({:?})", self.input_shape)
    }
}

impl Plan {
    /// Checks an ONNX file against its manifest and optimises it.
    pub(crate) fn build(manifest: &Manifest, onnx: &[u8]) -> Result<Self, Error> {
        let found = format!("{:x}", Sha256::digest(onnx));
        if found != manifest.model.sha256 {
            let expected = manifest.model.sha256.clone();
            return Err(refuse(manifest, "onnx.sha256", expected, found));
        }
        catch_unwind(AssertUnwindSafe(|| optimise(manifest, onnx)))
            .unwrap_or_else(|panic| Err(unloadable(manifest, panic_message(&*panic))))
    }

    /// Runs the model on a tensor of the manifest's input shape; the output tensors, in order.
    pub(crate) fn run(&self, input: &[f32]) -> Result<Vec<Vec<f32>>, String> {
        catch_unwind(AssertUnwindSafe(|| {
            let input = Tensor::from_shape(&self.input_shape, input)?;
            let outputs = self.plan.run(tvec!(input.into()))?;
            let values = |output: &TValue| {
                let view = output.to_plain_array_view::<f32>()?;
                TractResult::Ok(view.iter().copied().collect())
            };
            outputs.iter().map(values).collect::<TractResult<_>>()
        }))
        .map_err(|panic| panic_message(&*panic))?
        .map_err(|error| format!("{error:#}"))
    }
}

fn optimise(manifest: &Manifest, mut onnx: &[u8]) -> Result<Plan, Error> {
    let unloadable = |error: TractError| unloadable(manifest, format!("{error:#}"));
    let (input_shape, output_shapes) = match &manifest.kind {
        Kind::Reconstruct(form) => (
            tensor::input_shape(form),
            tensor::output_shapes(form).to_vec(),
        ),
        Kind::Classify(form) => (
            tensor::classifier_input_shape(form),
            tensor::classifier_output_shapes(form),
        ),
    };

    let model = tract_onnx::onnx()
        .with_ignore_value_info(true)
        .model_for_read(&mut onnx)
        .map_err(unloadable)?;
    for (field, outlets, expected) in [
        ("input", model.input_outlets().map_err(unloadable)?, 1),
        (
            "output",
            model.output_outlets().map_err(unloadable)?,
            output_shapes.len(),
        ),
    ] {
        if outlets.len() != expected {
            let (expected, found) = (format!("{expected} tensors"), outlets.len().to_string());
            return Err(refuse(manifest, field, expected, found));
        }
    }
    let fact = model.input_fact(0).map_err(unloadable)?;
    let (kind, found) = (fact.datum_type.concretize(), format!("{fact:?}"));
    // A dimension that the file leaves open, such as the batch, is what the manifest says.
    let fits = |(dim, expected): (Option<TDim>, &usize)| {
        let fixed = dim.and_then(|dim| dim.to_usize().ok());
        fixed.is_none_or(|fixed| fixed == *expected)
    };
    let dims: Vec<Option<TDim>> = fact.shape.dims().map(Factoid::concretize).collect();
    let rank = fact.shape.rank().concretize();
    if kind != Some(f32::datum_type())
        || rank != Some(3)
        || !dims.into_iter().zip(&input_shape).all(fits)
    {
        return Err(refuse(manifest, "input", describe(&input_shape), found));
    }

    let model = model
        .with_input_fact(0, f32::fact(input_shape).into())
        .map_err(unloadable)?;
    let model = model.into_optimized().map_err(unloadable)?;
    for (k, shape) in output_shapes.iter().enumerate() {
        let fact = model.output_fact(k).map_err(unloadable)?;
        if fact.datum_type != f32::datum_type() || fact.shape.as_concrete() != Some(shape) {
            let found = format!("{fact:?}");
            return Err(refuse(manifest, "output", describe(shape), found));
        }
    }
    let plan = model.into_runnable().map_err(unloadable)?;
    Ok(Plan { plan, input_shape })
}

fn describe(shape: &[usize]) -> String {
    format!("f32 {shape:?}")
}

fn refuse(manifest: &Manifest, field: &'static str, expected: String, found: String) -> Error {
    Error::Manifest {
        file: manifest.onnx_file.clone(),
        field,
        expected,
        found,
    }
}

fn unloadable(manifest: &Manifest, reason: String) -> Error {
    Error::Onnx {
        file: manifest.onnx_file.clone(),
        reason,
    }
}
