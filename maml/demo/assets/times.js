/* How long things are shown, in milliseconds.  `window.mamlTimes` may hold others before this script
 * runs, and is where they may be changed afterwards. */
const SketchTimes = window.mamlTimes = {
  message: 5000,
  rest: 3000, // from the end of a stroke until its pad rests
  replay: 500, // of the inner steps, after each new example
  slowReplay: 2000, // and when it is asked for
  ...window.mamlTimes,
};
