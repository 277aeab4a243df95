/* What Python hands over to the scripts, with limits of the tests' own. */
globalThis.SKETCH_CONSTANTS = {
  DOCUMENT: {
    VERSION: 1,
    LIMITS: { symbols: 20, drawings: 20, strokes: 64, points: 2048, name: 500, picture: 40000,
      steps: 20, file: 100000 },
    PICTURE: "data:image/(png|jpeg);base64,([A-Za-z0-9+/]+={0,2})",
  },
};
