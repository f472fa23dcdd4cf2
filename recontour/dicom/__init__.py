"""The border to DICOM: the only room that knows pydicom and rt-utils."""
