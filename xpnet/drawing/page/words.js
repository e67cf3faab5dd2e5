// What the page says, in English and Japanese.

const english = {
  languages: "Language",
  drawing: "Your drawing",
  paper: "Paper to draw a digit on",
  invitation: "Draw a digit here",
  undo: "Undo",
  clear: "Clear",
  samples: "Or take a digit of MNIST",
  sample: (label) => `Digit ${label} of MNIST`,
  source: (number, label) => `test digit ${number}, labelled ${label}`,
  keys: "Keys on the paper: arrows move the pen, Space sets it down and lifts it, 0 to 9 take a digit of MNIST, " +
    "Backspace undoes, Delete clears.",
  penDown: "Pen down",
  penUp: "Pen up",
  preparing: "A network is being trained",
  steps: (done, goal) => `${done} of ${goal} steps`,
  read: (accuracy) => `${accuracy} of the test digits read`,
  seconds: (left) => `about ${left} s left`,
  minutes: (left) => `about ${left} min left`,
  comma: ", ",
  answer: "Answer",
  bars: "Probability of each class; choose one to see what speaks for it",
  spoken: (answer, probability) => `${answer}, with ${probability}`,
  cleared: "The paper is empty",
  seen: "What the network sees",
  seenPicture: "The drawing in 28 by 28 pixels",
  seenNote: "28 × 28 pixels, scaled and centred as MNIST’s digits are",
  reasons: "What speaks for it",
  reasonsPicture: "The gradient of the score with respect to each pixel",
  reasonsOff: "How each pixel changes the score: the gradient",
  reasonsNote: (label) => `More ink where it is blue makes ${label} likelier, where it is orange less likely`,
  inside: "Inside the network",
  layer: "Layer",
  units: (count, of) => (count < of ? `The first ${count} of ${of} units` : `${count} units`),
  maps: (count, of) => (count < of ? `The first ${count} of ${of} feature maps` : `${count} feature maps`),
  behind: (what, layer, largest) => `${what} behind ${layer}; the strongest is ${largest}. Blue is above 0, orange below.`,
  nothingInside: "This network has no hidden layers to show.",
  failed: (why) => `The training failed: ${why}`,
  refused: (why) => `No answer: ${why}`,
  lost: "xpnet draw does not respond. If it has ended, start it again and open the new address.",
};

const japanese = {
  languages: "言語",
  drawing: "あなたの絵",
  paper: "数字を描く用紙",
  invitation: "ここに数字を描いてください",
  undo: "元に戻す",
  clear: "消去",
  samples: "またはMNISTの数字を使う",
  sample: (label) => `MNISTの${label}`,
  source: (number, label) => `テスト画像${number}番、正解は${label}`,
  keys: "用紙の上で使えるキー：矢印でペンを動かし、スペースでペンを下ろす・上げる、0〜9でMNISTの数字を読み込み、" +
    "Backspaceで元に戻し、Deleteで消去します。",
  penDown: "ペンを下ろしました",
  penUp: "ペンを上げました",
  preparing: "ネットワークを学習しています",
  steps: (done, goal) => `${goal}回中${done}回`,
  read: (accuracy) => `テスト画像の正解率${accuracy}`,
  seconds: (left) => `残り約${left}秒`,
  minutes: (left) => `残り約${left}分`,
  comma: "、",
  answer: "答え",
  bars: "各クラスの確率。選ぶと、その根拠を表示します",
  spoken: (answer, probability) => `${answer}、確率${probability}`,
  cleared: "用紙は白紙です",
  seen: "ネットワークが見る画像",
  seenPicture: "28×28画素にした絵",
  seenNote: "MNISTと同じように大きさと位置をそろえた28×28画素",
  reasons: "答えの根拠",
  reasonsPicture: "各画素に対するスコアの勾配",
  reasonsOff: "各画素がスコアをどう変えるか（勾配）",
  reasonsNote: (label) => `青い所のインクを増やすと${label}らしくなり、橙の所を増やすと${label}らしくなくなります`,
  inside: "ネットワークの内部",
  layer: "層",
  units: (count, of) => (count < of ? `全${of}個中、先頭${count}個のユニット` : `${count}個のユニット`),
  maps: (count, of) => (count < of ? `全${of}枚中、先頭${count}枚の特徴マップ` : `${count}枚の特徴マップ`),
  behind: (what, layer, largest) => `${layer}の出力：${what}。絶対値の最大は${largest}。青は正、橙は負。`,
  nothingInside: "このネットワークには表示できる隠れ層がありません。",
  failed: (why) => `学習に失敗しました：${why}`,
  refused: (why) => `答えられません：${why}`,
  lost: "xpnet drawが応答しません。終了している場合は、もう一度起動して新しいアドレスを開いてください。",
};

const all = { en: english, ja: japanese };

export let language = navigator.languages.map((each) => each.slice(0, 2)).find((each) => each in all) ?? "en";
export let words = all[language];

export function speak(chosen) {
  language = chosen;
  words = all[chosen];
  document.documentElement.lang = chosen;
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = words[element.dataset.word];
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", words[element.dataset.label]);
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === chosen));
  }
}

export const whole = (number) => number.toLocaleString(language);
export const percent = (share) =>
  share.toLocaleString(language, { style: "percent", maximumFractionDigits: share < 0.1 || share > 0.99 ? 1 : 0 });
export const short = (number) => number.toLocaleString(language, { maximumSignificantDigits: 3 });
