//! Tests of seals, key files and rotations.

mod files;
mod rotating;
mod seals;
