//! Weights of networks as files hold them.

use crate::Error;

/// The f32 values, little-endian, of a file.
///
/// # Errors
/// [`Error::Weights`] where bytes are left over or a value is not finite.
pub(crate) fn values(bytes: &[u8]) -> Result<Vec<f32>, Error> {
    let (words, rest) = bytes.as_chunks::<4>();
    let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    if !rest.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return Err(Error::Weights);
    }
    Ok(values)
}
