//! Write a Portcullis plugin: implement one trait, call one macro.
