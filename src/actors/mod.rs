//! The supervision tree, one actor a file.
