"""What the Train tab tells a class: captions, comparisons, terms; as in `maml.demo.strings`.

A term that can be opened stands as "[[key|as it reads]]".
"""

from __future__ import annotations

from maml.sessions.document import Language

_EN = {
    # algorithms side by side
    "algorithms": "Algorithms",
    "algorithms_info": "Choose up to three: they train one after another on the same tasks and "
    "share the charts.",
    "algorithm_maml": "MAML",
    "algorithm_fomaml": "First-order MAML",
    "algorithm_anil": "ANIL",
    "algorithm_reptile": "Reptile",
    "algorithm_prototypes": "Prototypes",
    "run_by": "{recipe}, {algorithm}",
    "between": ", ",
    "then_more": "then {count} more",
    "show_run": "Show run {number}",
    "by_steps": "By steps",
    "by_seconds": "By seconds",
    "seconds_axis": "Seconds at work",
    # what the audience sees
    "present": "Present",
    "present_note": "Full screen. Space pauses, the right arrow goes on, Escape leaves.",
    "shape": "{ways}-way {shots}-shot",
    "shape_within": "{ways}-way {shots}-shot, one alphabet",
    "test_of": "test tasks, {shape}",
    "stage_pretraining": "pre-training",
    "stage_meta": "outer loop",
    "steps_untrained": "untrained",
    "steps_at": "step {iteration}",
    "steps_now": "now, step {iteration}",
    "prototypes_place": "prototypes",
    "steps_say": "Now {adapted} % after the inner steps; prototypes on the same features reach "
    "{prototypes} % without a step.",
    # one sentence for each part of a run
    "caption_untrained": "Nothing is trained yet: random features already tell some characters "
    "apart.",
    "caption_pretraining": "Pre-training: drawings of one character move close together, others "
    "apart.",
    "caption_first_order": "The outer loop begins with its first-order approximation: cheaper "
    "steps in roughly the right direction.",
    "caption_multi_step": "At first the answers after every inner step count, later only those "
    "after the last.",
    "caption_start_one": "It learns a starting point from which one step is enough.",
    "caption_start": "It learns a starting point from which {steps} steps are enough.",
    "caption_maml": "All layers adapt to each task, and the outer loop differentiates through "
    "those inner steps.",
    "caption_fomaml": "All layers adapt to each task; the outer loop treats the inner gradients as "
    "constants.",
    "caption_anil": "The features are the same for every task; only the last layer adapts.",
    "caption_reptile": "After each batch of tasks the starting point moves a little towards the "
    "adapted networks.",
    "caption_prototypes": "No inner loop in training: a query goes to the nearest class mean.",
    "caption_decay": "The outer rate falls: the starting point settles.",
    "caption_finished": "From this starting point it learns characters that it has never seen.",
    # terms
    "term_way": "Way",
    "term_way_text": "How many characters a task asks to tell apart. With 5 ways, guessing is "
    "right in 20 % of cases.",
    "term_shot": "Shot",
    "term_shot_text": "How many examples of each character the learner may adapt to. 1-shot: a "
    "single drawing.",
    "term_support": "Support",
    "term_support_text": "The examples of a task, with their labels. The inner loop adapts to "
    "these alone.",
    "term_query": "Query",
    "term_query_text": "Further drawings of the same characters. They measure what the adapted "
    "learner can do.",
    "term_inner": "Inner loop",
    "term_inner_text": "Adaptation to one task: a few gradient steps on the support set, from the "
    "common starting point.",
    "term_outer": "Outer loop",
    "term_outer_text": "Training of the starting point itself: one step for each batch of tasks, "
    "so that the inner loop does better on queries.",
    "term_order": "First order",
    "term_order_text": "The inner gradients count as constants: no second derivatives, so steps "
    "are cheaper and a little less exact.",
    "term_code": "In the code: {file}, line {line}",
    "terms_group_tasks": "Terms: [[way|way]], [[shot|shot]], [[support|support]], [[query|query]]",
    "terms_group_loops": "Terms: [[inner|inner loop]], [[outer|outer loop]], [[order|first order]]",
    # a link
    "copy_link": "Copy link",
}

_ZH = {
    "algorithms": "算法",
    "algorithms_info": "最多选三种：它们依次在同样的任务上训练，并共用图表。",
    "algorithm_maml": "MAML",
    "algorithm_fomaml": "一阶 MAML",
    "algorithm_anil": "ANIL",
    "algorithm_reptile": "Reptile",
    "algorithm_prototypes": "原型",
    "run_by": "{recipe}，{algorithm}",
    "between": "，",
    "then_more": "之后还有 {count} 次",
    "show_run": "显示训练 {number}",
    "by_steps": "按步数",
    "by_seconds": "按秒数",
    "seconds_axis": "训练用时（秒）",
    "present": "演示",
    "present_note": "全屏显示。空格键暂停，右方向键继续，Esc 键退出。",
    "shape": "{ways} 类 {shots} 样本",
    "shape_within": "{ways} 类 {shots} 样本，同一字母表",
    "test_of": "测试任务，{shape}",
    "stage_pretraining": "预训练",
    "stage_meta": "外循环",
    "steps_untrained": "未训练",
    "steps_at": "第 {iteration} 步",
    "steps_now": "现在，第 {iteration} 步",
    "prototypes_place": "原型",
    "steps_say": "现在，内循环之后为 {adapted}%；同样的特征不走一步，仅用原型为 {prototypes}%。",
    "caption_untrained": "还没有训练：随机特征已经能分辨一部分字符。",
    "caption_pretraining": "预训练：同一字符的图画彼此靠近，不同字符彼此远离。",
    "caption_first_order": "外循环先用一阶近似：每步更省，方向大致正确。",
    "caption_multi_step": "起初每个内循环步之后的回答都算数，后来只看最后一步。",
    "caption_start_one": "它在学习一个起点：从那里出发，一步就够。",
    "caption_start": "它在学习一个起点：从那里出发，{steps} 步就够。",
    "caption_maml": "每个任务中所有层都适应，外循环会对这些内循环步求导。",
    "caption_fomaml": "每个任务中所有层都适应；外循环把内循环的梯度当作常数。",
    "caption_anil": "所有任务共用同样的特征，只有最后一层适应。",
    "caption_reptile": "每批任务之后，起点都向适应后的网络靠近一点。",
    "caption_prototypes": "训练中没有内循环：查询归入最近的类均值。",
    "caption_decay": "外循环学习率下降：起点逐渐稳定。",
    "caption_finished": "从这个起点出发，它能学会从未见过的字符。",
    "term_way": "类别数（way）",
    "term_way_text": "一个任务要分辨多少个字符。5 类时，随机猜对的概率是 20%。",
    "term_shot": "样本数（shot）",
    "term_shot_text": "每个字符有多少个示例可供适应。单样本就是只有一幅图画。",
    "term_support": "支持集（support）",
    "term_support_text": "任务中带标签的示例。内循环只根据它们来适应。",
    "term_query": "查询（query）",
    "term_query_text": "同样字符的其他图画，用来衡量适应后的学习器。",
    "term_inner": "内循环（inner loop）",
    "term_inner_text": "对一个任务的适应：从共同的起点出发，在支持集上走几个梯度步。",
    "term_outer": "外循环（outer loop）",
    "term_outer_text": "训练起点本身：每批任务走一步，让内循环在查询上做得更好。",
    "term_order": "一阶（first order）",
    "term_order_text": "把内循环的梯度当作常数：不求二阶导数，每步更省，但略欠精确。",
    "term_code": "代码：{file}，第 {line} 行",
    "terms_group_tasks": "术语：[[way|类别数]]、[[shot|样本数]]、[[support|支持集]]、"
    "[[query|查询]]",
    "terms_group_loops": "术语：[[inner|内循环]]、[[outer|外循环]]、[[order|一阶]]",
    "copy_link": "复制链接",
}

LESSON_STRINGS: dict[Language, dict[str, str]] = {"en": _EN, "zh": _ZH}
"""These texts by language and key; part of `TRAIN_STRINGS`."""
