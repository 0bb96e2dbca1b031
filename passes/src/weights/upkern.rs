//! `upkern`: UpKern initialisation.
