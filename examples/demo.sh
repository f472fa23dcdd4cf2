#!/usr/bin/env bash
# A made patient, his daily scan, and its contours: recontour in one minute. Usage: demo.sh [path of recontour]
set -euo pipefail
recontour=${1:-recontour}
rm -rf demo
echo "Making a patient and a day (demo/planning, demo/daily, demo/truth) ..."
"$recontour" phantom demo --seed 1 --quiet
echo "Bringing his planning contours to the daily scan ..."
"$recontour" run demo/planning demo/daily --out demo/rtstruct.dcm --registration demo/registration.dcm \
  --report demo/report
cat <<'END'

Where to look:
  demo/rtstruct.dcm             the daily contours: open them with demo/daily in any DICOM viewer
  demo/report/report.html       what moved and what to look at: open it in a browser; report.pdf: the same on two sheets
  demo/rtstruct.manifest.json   how they came about: versions, times, volumes, lights and reasons
  demo/registration.dcm         the motion, as a DICOM deformable registration
  demo/truth/                   what the contours should be
END
