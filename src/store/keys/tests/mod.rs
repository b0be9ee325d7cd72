//! Tests of seals, key files and rotations.

mod files;
mod roots;
mod rotating;
mod seals;
