//! ONNX Runtime, loaded when the program runs. **The only file that names ort.**
//!
//! One thread a run, and one run at a time of each model: those who share it wait.

use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::value::{TensorElementType, TensorRef};

/// A process has one; the first library that is named is loaded.
static ENVIRONMENT: OnceLock<Result<Environment, String>> = OnceLock::new();

/// A model in ONNX Runtime.
pub(super) struct Engine {
    session: Mutex<Session>,
}

/// An output tensor: its shape and its values.
pub(super) type Output = (Vec<usize>, Vec<f32>);

impl Engine {
    /// Loads the runtime, once, and a model.
    pub(super) fn load(library: &Path, onnx: &[u8]) -> Result<Self, String> {
        let environment = ENVIRONMENT.get_or_init(|| {
            let builder = ort::init_from(library).map_err(|error| error.to_string())?;
            let builder = builder.with_name("infer").with_telemetry(false);
            builder.build().map_err(|error| error.to_string())
        });
        let builder = Session::builder(environment.as_ref().map_err(Clone::clone)?);
        let builder = builder.map_err(|error| error.to_string())?;
        let builder = builder.with_intra_threads(1);
        let mut builder = builder.map_err(|error| error.to_string())?;
        let session = builder.commit_from_memory(onnx);
        Ok(Self {
            session: Mutex::new(session.map_err(|error| error.to_string())?),
        })
    }

    /// The form of each input: whether it is f32, and its dimensions, where they are not left open.
    pub(super) fn inputs(&self) -> Vec<(bool, Vec<Option<usize>>)> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let form = |input: &ort::value::Outlet| {
            let kind = input.dtype();
            let dims = kind.tensor_shape().map(|shape| shape.to_vec());
            let dims = dims.unwrap_or_default();
            let is_f32 = kind.tensor_type() == Some(TensorElementType::Float32);
            (
                is_f32,
                dims.iter().map(|dim| usize::try_from(*dim).ok()).collect(),
            )
        };
        session.inputs().iter().map(form).collect()
    }

    /// Runs the model; the outputs in order.
    pub(super) fn run(&self, shape: [usize; 3], input: &[f32]) -> Result<Vec<Output>, String> {
        let input =
            TensorRef::from_array_view((shape, input)).map_err(|error| error.to_string())?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session.run(ort::inputs![input]);
        let outputs = outputs.map_err(|error| error.to_string())?;
        let output = |value: ort::value::ValueRef<'_>| {
            let (shape, values) = value.try_extract_tensor::<f32>()?;
            let dims = shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(0));
            Ok((dims.collect(), values.to_vec()))
        };
        let outputs: ort::Result<_> = outputs.values().map(output).collect();
        outputs.map_err(|error| error.to_string())
    }
}
