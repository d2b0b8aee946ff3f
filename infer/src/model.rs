//! An ONNX file as an optimised plan. **The only file that names tract.**
//!
//! Batch of one, concrete shapes, f32: the shapes for which tract's convolutions are fast.
//! A plan is shared, not copied, by the threads that run it. tract may panic on a graph that is
//! broken in ways it did not foresee, so loading and running catch that.

#[cfg(feature = "ort")]
mod onnxruntime;

use std::panic::{AssertUnwindSafe, catch_unwind};
#[cfg(feature = "ort")]
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

use crate::error::panic_message;
use crate::tensor::{self, Shapes};
use crate::{Error, Manifest};

/// What runs the models.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Runtime {
    /// tract, which is part of the program.
    #[default]
    Tract,
    /// ONNX Runtime 1.17 or later, from this library; a process loads one, the first that is named. Of each model one
    /// run at a time.
    #[cfg(feature = "ort")]
    OnnxRuntime(PathBuf),
}

/// A model that fits its manifest, ready to run.
#[derive(Clone)]
pub(crate) struct Plan {
    engine: Engine,
    input_shape: [usize; 3],
}

#[derive(Clone)]
enum Engine {
    Tract(Arc<TypedRunnableModel>),
    #[cfg(feature = "ort")]
    OnnxRuntime(Arc<onnxruntime::Engine>),
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plan({:?})", self.input_shape)
    }
}

impl Plan {
    /// Checks an ONNX file against its manifest and optimises it.
    pub(crate) fn build(
        runtime: &Runtime,
        manifest: &Manifest,
        onnx: &[u8],
    ) -> Result<Self, Error> {
        let found = format!("{:x}", Sha256::digest(onnx));
        if found != manifest.model.sha256 {
            let expected = manifest.model.sha256.clone();
            return Err(refuse(manifest, "onnx.sha256", expected, found));
        }
        let shapes = tensor::shapes(&manifest.kind);
        let engine = catch_unwind(AssertUnwindSafe(|| match runtime {
            Runtime::Tract => optimise(manifest, &shapes, onnx),
            #[cfg(feature = "ort")]
            Runtime::OnnxRuntime(library) => hand_over(manifest, &shapes, library, onnx),
        }));
        let engine =
            engine.unwrap_or_else(|panic| Err(unloadable(manifest, panic_message(&*panic))))?;
        Ok(Self {
            engine,
            input_shape: shapes.input,
        })
    }

    /// Runs the model on a tensor of the manifest's input shape; the output tensors, in order.
    pub(crate) fn run(&self, input: &[f32]) -> Result<Vec<Vec<f32>>, String> {
        let outputs = catch_unwind(AssertUnwindSafe(|| match &self.engine {
            Engine::Tract(plan) => {
                run(plan, &self.input_shape, input).map_err(|error| format!("{error:#}"))
            }
            #[cfg(feature = "ort")]
            Engine::OnnxRuntime(engine) => {
                let outputs = engine.run(self.input_shape, input)?;
                Ok(outputs.into_iter().map(|(_, values)| values).collect())
            }
        }));
        outputs.map_err(|panic| panic_message(&*panic))?
    }
}

fn run(
    plan: &Arc<TypedRunnableModel>,
    shape: &[usize],
    input: &[f32],
) -> TractResult<Vec<Vec<f32>>> {
    let input = Tensor::from_shape(shape, input)?;
    let outputs = plan.run(tvec!(input.into()))?;
    let values = |output: &TValue| {
        let view = output.to_plain_array_view::<f32>()?;
        TractResult::Ok(view.iter().copied().collect())
    };
    outputs.iter().map(values).collect()
}

fn optimise(manifest: &Manifest, shapes: &Shapes, mut onnx: &[u8]) -> Result<Engine, Error> {
    let unloadable = |error: TractError| unloadable(manifest, format!("{error:#}"));
    let model = tract_onnx::onnx()
        .with_ignore_value_info(true)
        .model_for_read(&mut onnx)
        .map_err(unloadable)?;
    let n_inputs = model.input_outlets().map_err(unloadable)?.len();
    let n_outputs = model.output_outlets().map_err(unloadable)?.len();
    check_numbers(manifest, shapes, n_inputs, n_outputs)?;
    let fact = model.input_fact(0).map_err(unloadable)?;
    let is_f32 = fact.datum_type.concretize() == Some(f32::datum_type());
    let rank = fact.shape.rank().concretize();
    let dims = fact.shape.dims().map(Factoid::concretize);
    let dims: Vec<_> = dims
        .map(|dim| dim.and_then(|dim| dim.to_usize().ok()))
        .collect();
    if rank != Some(3) || !fits(shapes, is_f32, &dims) {
        let found = format!("{fact:?}");
        return Err(refuse(manifest, "input", describe(&shapes.input), found));
    }
    let model = model
        .with_input_fact(0, f32::fact(shapes.input).into())
        .and_then(InferenceModelExt::into_optimized)
        .map_err(unloadable)?;
    for (k, shape) in shapes.outputs.iter().enumerate() {
        let fact = model.output_fact(k).map_err(unloadable)?;
        if fact.datum_type != f32::datum_type() || fact.shape.as_concrete() != Some(shape) {
            let found = format!("{fact:?}");
            return Err(refuse(manifest, "output", describe(shape), found));
        }
    }
    let plan = model.into_runnable().map_err(unloadable)?;
    Ok(Engine::Tract(plan))
}

/// Loads a model into ONNX Runtime. What shapes come out shows when it runs, so it runs on zeros.
#[cfg(feature = "ort")]
fn hand_over(
    manifest: &Manifest,
    shapes: &Shapes,
    library: &Path,
    onnx: &[u8],
) -> Result<Engine, Error> {
    let unloadable = |reason| unloadable(manifest, reason);
    let engine = onnxruntime::Engine::load(library, onnx).map_err(unloadable)?;
    let inputs = engine.inputs();
    check_numbers(manifest, shapes, inputs.len(), shapes.outputs.len())?;
    for (is_f32, dims) in &inputs {
        if dims.len() != shapes.input.len() || !fits(shapes, *is_f32, dims) {
            let found = format!("f32: {is_f32}, {dims:?}");
            return Err(refuse(manifest, "input", describe(&shapes.input), found));
        }
    }
    let zeros = vec![0.0; shapes.input.iter().product()];
    let outputs = engine.run(shapes.input, &zeros).map_err(unloadable)?;
    check_numbers(manifest, shapes, inputs.len(), outputs.len())?;
    for ((found, _), shape) in outputs.iter().zip(&shapes.outputs) {
        if found != shape {
            let found = describe(found);
            return Err(refuse(manifest, "output", describe(shape), found));
        }
    }
    Ok(Engine::OnnxRuntime(Arc::new(engine)))
}

fn check_numbers(
    manifest: &Manifest,
    shapes: &Shapes,
    n_inputs: usize,
    n_outputs: usize,
) -> Result<(), Error> {
    for (field, found, expected) in [
        ("input", n_inputs, 1),
        ("output", n_outputs, shapes.outputs.len()),
    ] {
        if found != expected {
            let (expected, found) = (format!("{expected} tensors"), found.to_string());
            return Err(refuse(manifest, field, expected, found));
        }
    }
    Ok(())
}

/// Whether an input is what the manifest says; a dimension that the file leaves open, such as the batch, is.
fn fits(shapes: &Shapes, is_f32: bool, dims: &[Option<usize>]) -> bool {
    let mut pairs = dims.iter().zip(&shapes.input);
    is_f32 && pairs.all(|(dim, expected)| dim.is_none_or(|dim| dim == *expected))
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
