"""A cohort of DICOM folders -> aligned 1 mm pairs to train on."""
