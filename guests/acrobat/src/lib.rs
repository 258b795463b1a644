//! The guest acrobat.
