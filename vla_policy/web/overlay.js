// What is drawn over a picture: the planned path of each tool, a dot for each row, and the place that the policy points at.
// Places come as [right, down] from the middle of the picture, in halves of its height.

const FINE_PX = 720; // pictures of few pixels get lines of many
const HALO = 2.5;    // how much wider than a line its ground is

// over, picture: canvases that lie on each other. paths: [{at, open}]. place: [right, down], or nothing.
export function drawOver(over, picture, paths, place) {
  const scale = Math.max(1, FINE_PX / picture.height);
  const width = Math.round(picture.width * scale), height = Math.round(picture.height * scale);
  if (over.width !== width || over.height !== height) { over.width = width; over.height = height; }
  const ink = over.getContext("2d"), paint = getComputedStyle(over);
  const colour = (name) => paint.getPropertyValue(`--${name}`);
  const at = ([right, down]) => [width / 2 + right * height / 2, height / 2 + down * height / 2];
  const thick = height / 160;
  ink.clearRect(0, 0, width, height);
  ink.lineCap = ink.lineJoin = "round";

  for (const path of paths) {
    const rows = path.at.map((row) => row && at(row));
    for (const [line, name] of [[HALO * thick, "ground"], [thick, "plan"]]) {
      ink.beginPath();
      rows.forEach((row, k) => { if (row) ink[k && rows[k - 1] ? "lineTo" : "moveTo"](...row); });
      ink.lineWidth = line;
      ink.strokeStyle = colour(name);
      ink.stroke();
    }
    rows.forEach((row, k) => { if (row) dot(row, 1.2 * thick, colour(!path.open || path.open[k] > 0.5 ? "plan" : "grasp")); });
  }
  if (place) {
    const [x, y] = at(place), arm = 5 * thick;
    for (const [line, name] of [[HALO * thick, "ground"], [thick, "point"]]) {
      ink.beginPath();
      ink.arc(x, y, arm, 0, 2 * Math.PI);
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        ink.moveTo(x + dx * arm / 2, y + dy * arm / 2);
        ink.lineTo(x + dx * 1.6 * arm, y + dy * 1.6 * arm);
      }
      ink.lineWidth = line;
      ink.strokeStyle = colour(name);
      ink.stroke();
    }
  }

  function dot([x, y], radius, fill) {
    ink.beginPath();
    ink.arc(x, y, radius, 0, 2 * Math.PI);
    ink.fillStyle = fill;
    ink.fill();
  }
}
