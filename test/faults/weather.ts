import { weather } from "./bad-weather.js";

// npm run weather: fifty rounds of ten clients; three in ten drop out of each round, one piece in a
// hundred resets its connection, every piece comes up to 500 ms late, and the server is killed
// once. Ends with 1 where a round passed its deadline (and the two seconds that a commit may take),
// or the model is worse than the clean run's.
const deadline = 15_000;
const result = await weather({
  rounds: 50,
  deadline,
  weather: { jitter: 500, resets: 0.01 },
  kill: 400,
});
console.log(result);
const { accuracy, cleanAccuracy, longestRound } = result;
const good = accuracy > cleanAccuracy - 0.03 && longestRound < deadline / 1000 + 2;
process.exit(good ? 0 : 1);
