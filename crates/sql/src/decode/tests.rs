//! What decodes, what is rejected, and that nothing panics.
