//! The engine's promises to clients and to its driver.
